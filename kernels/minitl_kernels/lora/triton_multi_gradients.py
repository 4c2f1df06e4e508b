"""dA and dB of every adapter of `lora_linear_multi`: sums over its own rows, unit by unit, then over its units.

    dAᵢ = dS[rows of i]ᵀ (mask ∘ x)[rows of i]        dBᵢᵀ = s · S[rows of i]ᵀ dY[rows of i]

         columns                 a program goes down the rows of one unit and holds the sums of its columns [C, R];
       ┌──┬────┬──┐  unit 0      then one program an adapter and block of columns adds the adapter's units, in their
       │  │ ▒▒ │  │  unit 1 ◄    order: no atomics, and the same sum at every run
       └──┴────┴──┘  unit 2

While a tile of dY is there, it also gives dS the part of its columns: dS = s · keep_scale · dY Bᵢ. The parts grow with
the rank, and from R = 64 on it is cheaper to read dY twice (see `triton_gradients.py`).

Workspace, in float32: a part of [C, R] for each unit, units · C · R elements, and one of [M, R] for each block of
columns, ⌈C / block⌉ · M · R. Beside the bytes of the matrix (e bytes an element) that is 4R / (e · UNIT) and
4R / (e · block): at r = 16 in bf16 with units of 256 rows and 128 columns an eighth and a quarter.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import chip_of, dot_precision, pieces
from minitl_kernels.lora.triton_low_rank import load_keep
from minitl_kernels.lora.triton_multi_low_rank import numbers_of, shrink
from minitl_kernels.lora.triton_multi_routing import Routes
from minitl_kernels.lora.triton_parts import Sum, add_parts

FUSED_RANKS = 32  # the most padded ranks at which dS and dB share a pass over dY


class UnitConfig(NamedTuple):
    """Rows taken in at a time, columns whose sums are held, warps, tiles in flight."""

    block_m: int
    block_c: int
    warps: int
    stages: int


def default_config(wide: Tensor, units: int, padded: int) -> UnitConfig:
    """The rule, as nothing is tuned: as many columns as registers allow and as leave every multiprocessor some work."""
    if wide.dtype == torch.float32:
        return UnitConfig(32, 64, 4, 2) if padded <= 64 else UnitConfig(16, 64, 8, 2)
    chip = chip_of(wide.device)
    block_c = 256 if padded <= 32 and chip.capability >= 90 else 128 if padded <= 128 else 64
    if chip.tensor_memory and padded <= 128:
        block_c //= 2  # where sums lie in tensor memory, fewer registers are left for the rest
    while block_c > 64 and pieces(wide.shape[1], block_c) * units < chip.multiprocessors:
        block_c //= 2
    return UnitConfig(64 if padded <= 128 else 32, block_c, 8, 3)


@triton.jit(do_not_specialize=["M", "count"])
def _unit_sums_kernel(  # type: ignore[no-untyped-def]
    s, wide, bits, right, parts, s_parts, rows, owner, table, M, C, count,
    wide_stride_m, wide_stride_c, right_stride_r, right_stride_c,
    R: tl.constexpr, PRECISION: tl.constexpr, UNIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    unit, block = tl.program_id(1), tl.program_id(0).to(tl.int64)
    adapter = tl.load(owner + unit)
    if (adapter < 0) | (adapter == count):
        return
    length = tl.sum((tl.load(rows + unit * UNIT + tl.arange(0, UNIT)) < M).to(tl.int32))
    columns, ranks = block * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, R)
    if s_parts is not None:
        start, rank, scaling, threshold = numbers_of(table, adapter)
        factor = scaling * (65536.0 / (65536 - threshold).to(tl.float32))
        up_places = (start + ranks)[None, :] * right_stride_r + columns[:, None] * right_stride_c
        up = tl.load(right + up_places, (columns < C)[:, None] & (ranks < rank)[None, :], 0.0).to(wide.dtype.element_ty)
    total = tl.zeros((BLOCK_C, R), tl.float32)
    for first in range(0, length, BLOCK_M):
        m = tl.load(rows + unit * UNIT + first + tl.arange(0, BLOCK_M)).to(tl.int64)
        inside = (m < M)[:, None]
        places = m[:, None] * wide_stride_m + columns[None, :] * wide_stride_c
        tile = tl.load(wide + places, inside & (columns < C)[None, :], 0.0)
        if s_parts is not None:
            terms = tl.dot(tile, up, input_precision=PRECISION) * factor
            tl.store(s_parts + (block * M + m)[:, None] * R + ranks[None, :], terms, inside)
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


def grad_a(grad_s: Tensor, x: Tensor, bits: Tensor | None, table: Tensor, routes: Routes, stacked: int) -> Tensor:
    """float32 [Σr, K]: dA of every adapter, zeros where it has no rows; dS [M, R] carries s and the dropout's scale.

    x [M, K] of any strides; bits uint8 [M, ⌈K/8⌉] or None; stacked = Σr
    """
    return _by_units(grad_s, x, bits, None, None, table, routes, stacked, False)


def grad_s_and_b(
    grad_y: Tensor, s: Tensor, right: Tensor, table: Tensor, routes: Routes, need_s: bool, need_b: bool
) -> tuple[Tensor | None, Tensor | None]:
    """dS [M, R] in dY's dtype, times s and the dropout's scale, and dBᵀ of every adapter, float32 [Σr, N]; or None.

    grad_y [M, N] of any strides, s [M, R] contiguous, right [Σr, N] of any strides: Bᵀ of every adapter. In dS rows of
    no adapter are left as they come from memory.
    """
    if not need_b or s.shape[1] > FUSED_RANKS:
        grad_s = shrink(grad_y, right, table, routes, s.shape[1], False, True, None)[0] if need_s else None
        grad_b = _by_units(s, grad_y, None, None, None, table, routes, len(right), True) if need_b else None
        return grad_s, grad_b
    grad_s = torch.empty_like(s) if need_s else None
    return grad_s, _by_units(s, grad_y, None, right, grad_s, table, routes, len(right), True)


def _by_units(
    s: Tensor, wide: Tensor, bits: Tensor | None, right: Tensor | None, grad_s: Tensor | None,
    table: Tensor, routes: Routes, stacked: int, scaled: bool,
) -> Tensor:  # fmt: skip
    """float32 [Σr, C]: of each adapter S[rows]ᵀ (mask ∘ wide)[rows], times s where `scaled`; fills dS if given."""
    (m, c), padded, units = wide.shape, s.shape[1], routes.owner.shape[0]
    config = default_config(wide, units, padded)
    blocks = pieces(c, config.block_c)
    parts = wide.new_empty((units, c, padded), dtype=torch.float32)
    s_parts = None if grad_s is None else wide.new_empty((blocks, m, padded), dtype=torch.float32)
    _unit_sums_kernel[(blocks, units)](
        s, wide, bits, right, parts, s_parts, routes.rows, routes.owner, table, m, c, table.shape[0] - 1,
        *wide.stride(), *((0, 0) if right is None else right.stride()),
        R=padded, PRECISION=dot_precision(wide.dtype), UNIT=routes.unit,
        BLOCK_M=config.block_m, BLOCK_C=config.block_c, num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    if s_parts is not None and grad_s is not None:
        add_parts(Sum(s_parts, grad_s, 1.0))
    out = wide.new_empty((stacked, c), dtype=torch.float32)
    block = max(16, 2048 // padded)
    _add_units_kernel[(table.shape[0] - 1, pieces(c, block))](
        parts, out, routes.first, table, c, R=padded, SCALED=scaled, BLOCK_C=block, num_warps=4
    )
    return out
