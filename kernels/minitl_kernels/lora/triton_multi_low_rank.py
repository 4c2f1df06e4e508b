"""The two low-rank products of `lora_linear_multi`, each row with its adapter: into few columns, and out of them.

    shrink   S[m] = factor · (mask ∘ L[m]) Rᵢᵀ       L [M, C] = x or dY,  Rᵢ [r, C] = Aᵢ or Bᵢᵀ
    expand   Y[m] += factor · mask ∘ (S[m] Rᵢ)       Y [M, C] = y or dX

A tile is BLOCK_M places of `rows` (see the routing): rows of one adapter, wherever they lie. Of a unit that is not
full, tiles without rows return at once, as do those of the base alone.

Forward, S = shrink(x, A) draws the mask at the rows' own places, so that it is the mask of one adapter, and stores its
bits; y is expanded by S and B. Backward, dS = shrink(dY, B), and dX is expanded by dS and A, under the bits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.philox import GROUP
from minitl_kernels.lora.triton_common import dot_precision, pieces
from minitl_kernels.lora.triton_low_rank import load_keep
from minitl_kernels.lora.triton_mask import keep_bytes, keep_where
from minitl_kernels.lora.triton_multi_routing import Routes


@triton.jit
def numbers_of(table, adapter):  # type: ignore[no-untyped-def]
    """start, rank (int32), s (float32), threshold (int32) of an adapter."""
    place = table + adapter * 4
    start, rank = tl.load(place).to(tl.int32), tl.load(place + 1).to(tl.int32)
    return start, rank, tl.load(place + 2), tl.load(place + 3).to(tl.int32)


@triton.jit(do_not_specialize=["M", "count"])
def _shrink_kernel(  # type: ignore[no-untyped-def]
    left, right, seed, s, bits, rows, owner, table, M, C, count,
    left_stride_m, left_stride_c, right_stride_r, right_stride_c,
    R: tl.constexpr, DROPOUT: tl.constexpr, SCALED: tl.constexpr, PRECISION: tl.constexpr,
    UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    adapter = tl.load(owner + tl.program_id(0) * BLOCK_M // UNIT)
    if (adapter < 0) | (adapter == count):
        return
    m = tl.load(rows + tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    if tl.min(m) == M:
        return
    start, rank, scaling, threshold = numbers_of(table, adapter)
    GROUPS: tl.constexpr = BLOCK_C // 8
    ranks, row_groups = tl.arange(0, R), tl.cdiv(C, 8)
    key = tl.load(seed) if DROPOUT else 0
    total = tl.zeros((BLOCK_M, R), tl.float32)
    for first in range(0, C, BLOCK_C):
        columns = first + tl.arange(0, BLOCK_C).to(tl.int64)
        places = m[:, None] * left_stride_m + columns[None, :] * left_stride_c
        tile = tl.load(left + places, (m < M)[:, None] & (columns < C)[None, :], 0.0)
        places = (start + ranks)[:, None] * right_stride_r + columns[None, :] * right_stride_c
        down = tl.load(right + places, (ranks < rank)[:, None] & (columns < C)[None, :], 0.0).to(tile.dtype)
        if DROPOUT:
            groups = first // 8 + tl.arange(0, GROUPS)
            keep = keep_bytes(key, m, groups, row_groups, threshold)
            stored = (m < M)[:, None] & (groups < row_groups)[None, :]
            tl.store(bits + m[:, None] * row_groups + groups[None, :], keep.to(tl.uint8), stored)
            tile = keep_where(tile, keep, BLOCK_M, GROUPS)
        total = tl.dot(tile, down.T, total, input_precision=PRECISION)
    total *= 65536.0 / (65536 - threshold).to(tl.float32)
    if SCALED:
        total *= scaling
    tl.store(s + m[:, None] * R + ranks[None, :], total.to(s.dtype.element_ty), (m < M)[:, None])


@triton.jit
def masked_update(  # type: ignore[no-untyped-def]
    s, right, bits, m, M, C, first_column, start, rank, right_stride_r, right_stride_c,
    R: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The float32 tile mask ∘ (S[m] Rᵢ), a few ranks at a time, so that the operands take little shared memory."""
    columns = first_column + tl.arange(0, BLOCK_C).to(tl.int64)
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for first in tl.range(0, R, BLOCK_R, num_stages=1):
        ranks = first + tl.arange(0, BLOCK_R)
        # S has nothing but what was in memory for rows of the base alone, whose rank is 0.
        low = tl.load(s + m[:, None] * R + ranks[None, :], (m < M)[:, None] & (ranks < rank)[None, :], 0.0)
        places = (start + ranks)[:, None] * right_stride_r + columns[None, :] * right_stride_c
        up = tl.load(right + places, (ranks < rank)[:, None] & (columns < C)[None, :], 0.0)
        total = tl.dot(low, up.to(low.dtype), total, input_precision=PRECISION)
    if bits is not None:
        total = tl.where(load_keep(bits, m, M, first_column, C, BLOCK_M, BLOCK_C) != 0, total, 0.0)
    return total


@triton.jit(do_not_specialize=["M", "count"])
def _expand_kernel(  # type: ignore[no-untyped-def]
    y, s, right, bits, rows, owner, table, M, C, count, right_stride_r, right_stride_c,
    R: tl.constexpr, BLOCK_R: tl.constexpr, SCALED: tl.constexpr, PRECISION: tl.constexpr,
    UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    adapter = tl.load(owner + tl.program_id(0) * BLOCK_M // UNIT)
    if (adapter < 0) | (adapter == count):
        return
    m = tl.load(rows + tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    if tl.min(m) == M:
        return
    start, rank, scaling, _ = numbers_of(table, adapter)
    first_column = tl.program_id(1) * BLOCK_C
    update = masked_update(
        s, right, bits, m, M, C, first_column, start, rank, right_stride_r, right_stride_c,
        R, BLOCK_R, BLOCK_M, BLOCK_C, PRECISION,
    )  # fmt: skip
    if SCALED:
        update *= scaling
    columns = first_column + tl.arange(0, BLOCK_C)
    tile = y + m[:, None] * C + columns[None, :]
    inside = (m < M)[:, None] & (columns < C)[None, :]
    total = tl.load(tile, inside, 0.0).to(tl.float32) + update
    tl.store(tile, total.to(y.dtype.element_ty), inside)


def shrink(
    left: Tensor, right: Tensor, table: Tensor, routes: Routes, padded: int,
    dropout: bool, scaled: bool, seed: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """S [M, R] in the left side's dtype, and the mask's bits, uint8 [M, ⌈C/8⌉] (empty without dropout).

    left [M, C] of any strides; right [Σr, C] of any strides. Rows of no adapter are left as they come from memory, and
    nobody reads them. S carries the dropout's scale, and s where `scaled`; `dropout` draws a mask.
    """
    (m, c), groups = left.shape, (left.shape[1] + GROUP - 1) // GROUP
    s, bits = left.new_empty(m, padded), left.new_empty((m, groups) if dropout else (0,), dtype=torch.uint8)
    wide = left.dtype == torch.float32
    if wide:
        largest = (16, 32 if dropout else 16, 8)  # either would spill where the other does not
        block_m, block_c, warps = (64, 32, 4) if padded <= 32 else (32, 32, 8) if padded <= 64 else largest
    else:
        block_m, block_c, warps = (64, 64, 4) if padded <= 64 and c % 16 == 0 else (64, 32, 8)  # odd rows: registers
    _shrink_kernel[(routes.rows.shape[0] // block_m,)](
        left, right, seed, s, bits, routes.rows, routes.owner, table, m, c, table.shape[0] - 1,
        *left.stride(), *right.stride(),
        R=padded, DROPOUT=dropout, SCALED=scaled, PRECISION=dot_precision(left.dtype),
        UNIT=routes.unit, BLOCK_M=block_m, BLOCK_C=block_c, num_warps=warps, num_stages=3,
    )  # fmt: skip
    return s, bits


def expand(
    y: Tensor, s: Tensor, right: Tensor, bits: Tensor | None, table: Tensor, routes: Routes, scaled: bool
) -> Tensor:
    """y [M, C], contiguous, with what is added in place, in float32 and rounded once; returns y."""
    (m, c), padded, wide = y.shape, s.shape[1], y.dtype == torch.float32
    block_m, block_c, warps = 64, 64 if wide else 128, 8 if c % 16 else 4  # odd rows need more registers
    _expand_kernel[(routes.rows.shape[0] // block_m, pieces(c, block_c))](
        y, s, right, bits, routes.rows, routes.owner, table, m, c, table.shape[0] - 1, *right.stride(),
        R=padded, BLOCK_R=16 if wide else min(32, padded), SCALED=scaled, PRECISION=dot_precision(y.dtype),
        UNIT=routes.unit, BLOCK_M=block_m, BLOCK_C=block_c, num_warps=warps,
    )  # fmt: skip
    return y
