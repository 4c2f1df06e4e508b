"""The dropout mask on a processor: 64-bit draws from a seeded stream, each read as four of 16 bits."""

import torch
from torch import Tensor


def cpu_keep(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:
    """The mask [rows, columns], bool, True where an element is kept: where its draw is at or above `threshold`."""
    generator = torch.Generator().manual_seed(int(seed) % (1 << 63))
    count = rows * columns
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None, generator=generator)
    # int16 counts from -2¹⁵, so the threshold is moved down by as much.
    return (words.view(torch.int16)[:count] >= threshold - (1 << 15)).view(rows, columns)
