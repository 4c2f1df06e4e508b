"""Dropout masks on a processor: one random byte an element, a second one where the first does not decide.

    words ─ seen as 8 bytes each ─► byte > high: kept,  < high: dropped,  = high: a second byte >= low: kept

An element is dropped with probability threshold / 2¹⁶, threshold = 256 · high + low. One byte in 256 is a tie, so nearly
half of a 16-bit draw's cost is saved. A mask is a function of its seed. Its bytes are all ones where an element is
kept, so that widening and one bitwise AND apply it; for the backward pass it is kept as one bit an element.
"""

from functools import cache

import torch
from torch import Tensor

from minitl_kernels.splitmix import start_of, words

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def keep_bytes(seed: int, count: int, threshold: int) -> Tensor:
    """int8 [8 · ⌈count / 8⌉]: -1 where an element is kept, 0 where it is dropped; what is beyond `count` means nothing.

    seed       of which the low 64 bits count
    threshold  in 0 … 2¹⁶ - 1
    """
    high, low = divmod(threshold, 256)
    start = start_of(seed)
    first = words(start, (count + 7) // 8)
    keep = torch.empty(8 * len(first), dtype=torch.int8)
    # A comparison that writes into its operands' own type is vectorised, one that writes booleans is not.
    beyond = torch.gt if low else torch.ge
    beyond(first.view(torch.uint8), high, out=keep.view(torch.uint8))
    if low:
        _decide_ties(keep.view(torch.int64), first, start_of(start), high, low)
    return keep.neg_()


def _decide_ties(keep: Tensor, first: Tensor, start: int, high: int, low: int) -> None:
    """Set to 1, in words of 8 elements, those zeros that drew `high`, and then no less than `low`."""
    ties = torch.eq(first.view(torch.uint8), high, out=torch.empty(8 * len(first), dtype=torch.uint8))
    ties = ties.view(torch.int64)
    where = ties.nonzero().squeeze(1)
    second = words(start, len(where)).view(torch.uint8)
    kept = ties[where].view(torch.uint8).bitwise_and_(torch.ge(second, low, out=second))
    keep.index_add_(0, where, kept.view(torch.int64))


def cpu_keep(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:
    """The mask [rows, columns], bool, True where an element is kept."""
    count = rows * columns
    return keep_bytes(int(seed), count, threshold)[:count].view(rows, columns).bool()


def wide_mask(keep: Tensor, like: Tensor) -> Tensor:
    """Integers of `like`'s shape and width, all ones where an element is kept; contiguous."""
    return keep.flatten()[: like.numel()].view(like.shape).to(_INTEGERS[like.dtype.itemsize])


def masked(x: Tensor, wide: Tensor) -> Tensor:
    """x where it is kept, else +0 whatever x is; in the memory of `wide`."""
    return wide.bitwise_and_(x.view(wide.dtype)).view(x.dtype)


def pack_bits(keep: Tensor) -> Tensor:
    """Eight elements to a byte, the first in the lowest bit: int8 [8 · n] -> uint8 [n]."""
    # Byte i holds a one at bit 8 · i, which the factor's term 2^(56 - 7 · i) moves to bit 56 + i; no two terms collide.
    ones = keep.view(torch.int64) & 0x0101010101010101
    return ones.mul_(0x0102040810204080).bitwise_right_shift_(56).to(torch.uint8)


def unpack_bits(bits: Tensor) -> Tensor:
    """What `pack_bits` packed."""
    return _spread().take(bits.long()).view(torch.int8)


@cache
def _spread() -> Tensor:
    """For each value of a byte, the word whose bytes are its bits."""
    bits = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
    return bits.to(torch.int8).neg_().view(torch.int64).squeeze(1)
