"""dA and dB of every adapter of `lora_linear_multi`: sums over its own rows, unit by unit, then over its units.

    dAᵢ = dS[rows of i]ᵀ (mask ∘ x)[rows of i]        dBᵢᵀ = s · S[rows of i]ᵀ dY[rows of i]

         columns                 a program goes down the rows of one unit and holds the sums of its columns [C, R];
       ┌──┬────┬──┐  unit 0      then one program an adapter and block of columns adds the adapter's units, in their
       │  │ ▒▒ │  │  unit 1 ◄    order: no atomics, and the same sum at every run
       └──┴────┴──┘  unit 2

Workspace: a float32 part of [C, R] for each unit, units · C · R elements; beside the bytes of the matrix (e bytes an
element) that is 4R / (e · UNIT), at r = 16 in bf16 with units of 256 rows an eighth.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import dot_precision
from minitl_kernels.lora.triton_low_rank import load_keep
from minitl_kernels.lora.triton_multi_low_rank import numbers_of
from minitl_kernels.lora.triton_multi_routing import Routes


@triton.jit(do_not_specialize=["M", "count"])
def _unit_sums_kernel(  # type: ignore[no-untyped-def]
    s, wide, bits, parts, rows, owner, M, C, count, wide_stride_m, wide_stride_c,
    R: tl.constexpr, PRECISION: tl.constexpr, UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    unit = tl.program_id(1)
    adapter = tl.load(owner + unit)
    if (adapter < 0) | (adapter == count):
        return
    length = tl.sum((tl.load(rows + unit * UNIT + tl.arange(0, UNIT)) < M).to(tl.int32))
    columns, ranks = tl.program_id(0).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, R)
    total = tl.zeros((BLOCK_C, R), tl.float32)
    for first in range(0, length, BLOCK_M):
        m = tl.load(rows + unit * UNIT + first + tl.arange(0, BLOCK_M)).to(tl.int64)
        inside = (m < M)[:, None]
        places = m[:, None] * wide_stride_m + columns[None, :] * wide_stride_c
        tile = tl.load(wide + places, inside & (columns < C)[None, :], 0.0)
        if bits is not None:
            keep = load_keep(bits, m, M, tl.program_id(0) * BLOCK_C, C, BLOCK_M, BLOCK_C)
            tile = tl.where(keep != 0, tile, 0.0)
        low = tl.load(s + m[:, None] * R + ranks[None, :], inside, 0.0)
        total = tl.dot(tile.T, low, total, input_precision=PRECISION)
    target = parts + (unit.to(tl.int64) * C + columns)[:, None] * R + ranks[None, :]
    tl.store(target, total, (columns < C)[:, None])


@triton.jit
def _add_units_kernel(  # type: ignore[no-untyped-def]
    parts, out, first, table, C, R: tl.constexpr, SCALED: tl.constexpr, BLOCK_C: tl.constexpr
):
    adapter = tl.program_id(0)
    start, rank, scaling, _ = numbers_of(table, adapter)
    columns, ranks = tl.program_id(1).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, R)
    total = tl.zeros((BLOCK_C, R), tl.float32)
    begin, end = tl.load(first + adapter), tl.load(first + adapter + 1)
    place = parts + (begin.to(tl.int64) * C + columns)[:, None] * R + ranks[None, :]
    for _ in range(begin, end):
        total += tl.load(place, (columns < C)[:, None], 0.0)
        place += C * R
    if SCALED:
        total *= scaling
    target = out + (start + ranks).to(tl.int64)[None, :] * C + columns[:, None]
    tl.store(target, total, (columns < C)[:, None] & (ranks < rank)[None, :])


def low_rank_gradients(
    s: Tensor, wide: Tensor, bits: Tensor | None, table: Tensor, routes: Routes, stacked: int, scaled: bool
) -> Tensor:
    """float32 [Σr, C]: for each adapter S[rows]ᵀ (mask ∘ wide)[rows], times s where `scaled`; zeros without rows.

    s [M, R] contiguous, wide [M, C] of any strides; bits uint8 [M, ⌈C/8⌉] or None; stacked = Σr
    """
    (c, padded), units = (wide.shape[1], s.shape[1]), routes.owner.shape[0]
    single = wide.dtype == torch.float32
    block_c = 64 if single or padded > 64 else 128
    parts = wide.new_empty((units, c, padded), dtype=torch.float32)
    _unit_sums_kernel[(triton.cdiv(c, block_c), units)](
        s, wide, bits, parts, routes.rows, routes.owner, wide.shape[0], c, table.shape[0] - 1, *wide.stride(),
        R=padded, PRECISION=dot_precision(wide.dtype), UNIT=routes.unit,
        BLOCK_M=16 if single and padded > 64 else 32, BLOCK_C=block_c,
        num_warps=8 if padded > 64 else 4, num_stages=2 if single else 3,
    )  # fmt: skip
    out = wide.new_empty((stacked, c), dtype=torch.float32)
    block = max(16, 2048 // padded)
    _add_units_kernel[(table.shape[0] - 1, triton.cdiv(c, block))](
        parts, out, routes.first, table, c, R=padded, SCALED=scaled, BLOCK_C=block, num_warps=4
    )
    return out
