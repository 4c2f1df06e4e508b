"""The dropout mask inside a kernel: drawn, packed, and laid over a tile.

    seed, rows, groups ─ Philox4x32-7 ─► 4 words = 8 draws of 16 bits ─ ≥ threshold ─► one byte ─► 8 elements

The numbers are those of `philox.py`. `tl.randint4x` splits an int64 offset into the counter (low, high, 0, 0) and an
int64 seed into the key (low, high): triton/language/random.py, `randint4x` and `philox`.
"""

import triton
import triton.language as tl


@triton.jit
def keep_bytes(seed, rows, groups, row_groups, threshold):  # type: ignore[no-untyped-def]
    """Bit j of byte [row, group] (int32) is set where element 8 · group + j of the row is kept.

    rows [m] int64, groups [g]; row_groups = ⌈K/8⌉ numbers the groups of the whole matrix row after row.
    """
    counters = rows[:, None] * row_groups + groups[None, :]
    word0, word1, word2, word3 = tl.randint4x(seed, counters, n_rounds=7)
    low = _two_bits(word0, threshold) | (_two_bits(word1, threshold) << 2)
    high = _two_bits(word2, threshold) | (_two_bits(word3, threshold) << 2)
    return low | (high << 4)


@triton.jit
def _two_bits(word, threshold):  # type: ignore[no-untyped-def]
    word = word.to(tl.uint32, bitcast=True)
    first = ((word & 0xFFFF).to(tl.int32) >= threshold).to(tl.int32)
    second = ((word >> 16).to(tl.int32) >= threshold).to(tl.int32)
    return first | (second << 1)


@triton.jit
def keep_where(tile, keep, ROWS: tl.constexpr, GROUPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """tile [ROWS, 8 · GROUPS], with zeros where the bit of `keep` [ROWS, GROUPS] is not set.

    With a group's elements on an axis of their own, the thread that holds a byte's elements needs no other thread.
    """
    lanes = tl.arange(0, 8)
    bit = (keep[:, :, None] >> lanes[None, None, :]) & 1
    kept = tl.where(bit != 0, tl.reshape(tile, (ROWS, GROUPS, 8)), 0.0)
    return tl.reshape(kept, (ROWS, GROUPS * 8))
