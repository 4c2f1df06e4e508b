"""The dropout mask by counting: every element's fate is a function of the seed and of where the element stands.

    element (m, k) ─► group g = m · ⌈K/8⌉ + k // 8 ─ Philox4x32-7, key = seed ─► 8 × 16 bits ─► those of lane k % 8

Nothing is drawn from a stream, so a kernel's blocks may come in any order, a recomputation sees the same mask, and a
backward pass may ask for it again. Seven rounds pass all tests of BigCrush (Salmon et al. 2011, table 2). The numbers
are those of `triton.language.randint4x(seed, g, n_rounds=7)`, whose counter is (g low, g high, 0, 0).
"""

import torch
from torch import Tensor

ROUNDS = 7
GROUP = 8  # elements that share one draw of 128 bits
_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by from round to round


def philox(seed: Tensor, counters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words for each counter, as int64 in [0, 2³²).

    seed      0-d int64 tensor, the key
    counters  int64 tensor of any shape, on the seed's device
    """
    key = [seed & _WORD, (seed >> 32) & _WORD]
    zero = torch.zeros_like(counters)
    c0, c1, c2, c3 = counters & _WORD, (counters >> 32) & _WORD, zero, zero
    for _ in range(ROUNDS):
        # A product of two 32-bit words wraps around in int64, but all of its 64 bits are right.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = ((second >> 32) & _WORD) ^ c1 ^ key[0], second & _WORD
        c2, c3 = ((first >> 32) & _WORD) ^ c3 ^ key[1], first & _WORD
        key = [(key[0] + _WEYL[0]) & _WORD, (key[1] + _WEYL[1]) & _WORD]
    return c0, c1, c2, c3


def philox_keep(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:
    """The mask [rows, columns], True where an element is kept: where its 16-bit draw is at or above `threshold`."""
    groups = (columns + GROUP - 1) // GROUP
    counters = torch.arange(rows * groups, dtype=torch.int64, device=seed.device)
    halves = [(word >> shift) & 0xFFFF for word in philox(seed, counters) for shift in (0, 16)]
    draws = torch.stack(halves, dim=-1).view(rows, groups * GROUP)
    return draws[:, :columns] >= threshold


def pack_bits(keep: Tensor) -> Tensor:
    """Eight elements of a row to a byte, the first in the lowest bit: bool [M, K] -> uint8 [M, ⌈K/8⌉]."""
    rows, columns = keep.shape
    groups = (columns + GROUP - 1) // GROUP
    padded = torch.nn.functional.pad(keep, (0, groups * GROUP - columns)).view(rows, groups, GROUP)
    # Made on the device: a copy of the powers of two from the host could not be part of a CUDA graph.
    powers = 1 << torch.arange(GROUP, dtype=torch.uint8, device=keep.device)
    return (padded * powers).sum(dim=-1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, columns: int) -> Tensor:
    """What `pack_bits` packed: uint8 [M, ⌈K/8⌉] -> bool [M, columns]."""
    lanes = torch.arange(GROUP, dtype=torch.uint8, device=bits.device)
    return ((bits[:, :, None] >> lanes) & 1).view(bits.shape[0], -1)[:, :columns].bool()
