"""The base's product and every row's own update in one kernel, for `lora_linear_multi`.

                     depth             C                            R         C
              ┌──────────────────┐  ┌─────┐                       ┌────┐  ┌──────┐
    rows of i │ left[m], gathered│ ·│  W  │  +  factor · mask ∘ ( │S[m]│ ·│  Rᵢ  │ )  + b
              └──────────────────┘  └─────┘                       └────┘  └──────┘

    forward   y  = x Wᵀ + s · S Bᵢᵀ + b         left x,   Rᵢ = Bᵢᵀ
    backward  dX = dY W + mask ∘ (dS Aᵢ)        left dY,  Rᵢ = Aᵢ

The sums begin at the update (as in `triton_grad_x.py`), so the output is written once and never read. The rows of a
tile are gathered by their addresses, which no descriptor can do before sm_100; rows of the base alone have tiles too,
of rank 0. Whether this beats cuBLAS and an update in place depends on the depth: see `pays`.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import chip_of, dot_precision, pieces
from minitl_kernels.lora.triton_multi_low_rank import masked_update, numbers_of
from minitl_kernels.lora.triton_multi_routing import Routes
from minitl_kernels.lora.triton_tiles import tile_of

# In bf16 at 790 TFLOP/s and 4.3 TB/s, writing the output once saves as long as the product takes at a depth of 367. A
# quarter slower than cuBLAS, a kernel that gathers its rows breaks even at four times that.
DEEPEST = 1536


@dataclass(frozen=True)
class GatheredConfig:
    """The tile, the depth taken in at a time, warps, tiles in flight, and ranks of the update at a time."""

    block_m: int
    block_c: int
    block_d: int
    warps: int
    stages: int
    block_r: int


def default_config(left: Tensor, columns: int) -> GatheredConfig:
    """The rule, as nothing is tuned: the widest tile that columns fill and registers hold."""
    if left.dtype == torch.float32:
        return GatheredConfig(64, 64, 32, 4, 2, 16)
    chip = chip_of(left.device)
    wide = columns >= 256 and chip.capability >= 90
    configs = [GatheredConfig(128, block_c, 64, 8, stages, 32) for block_c, stages in ((256, 3), (128, 3), (128, 2))]
    return next(config for config in configs[0 if wide else 1 :] if shared_bytes(config) <= chip.shared)


def shared_bytes(config: GatheredConfig) -> int:
    """An upper bound of the shared memory that a program in half precision needs: tiles in flight, and the update's."""
    return 2 * (config.block_m + config.block_c) * (config.stages * config.block_d + config.block_r) + 256


def pays(left: Tensor, columns: int) -> bool:
    """Whether one kernel is expected to be faster than cuBLAS and an update in place: a prediction, not a measurement.

    Never in float32, whose exact products cuBLAS does better by more than the output's bytes cost; nor with rows that
    are loaded element by element, as they are where their length is odd.
    """
    depth = left.shape[1]
    return left.dtype != torch.float32 and depth <= DEEPEST and depth % 16 == 0 and columns % 16 == 0


def product(
    left: Tensor, weight: Tensor, bias: Tensor | None, s: Tensor, right: Tensor, bits: Tensor | None,
    table: Tensor, routes: Routes, scaled: bool, config: GatheredConfig | None = None,
) -> Tensor:  # fmt: skip
    """left · weight + factor · mask ∘ (S Rᵢ) + bias, [M, C], in the left side's dtype, contiguous.

    left [M, D] and weight [D, C] of any strides, in one dtype; bias [C] or None; s [M, R] contiguous; right [Σr, C] of
    any strides; bits uint8 [M, ⌈C/8⌉] or None; `scaled` multiplies the update by s.
    """
    (m, depth), c, padded = left.shape, weight.shape[1], s.shape[1]
    config = config or default_config(left, c)
    out = left.new_empty(m, c)
    tiles = (routes.rows.shape[0] // config.block_m) * pieces(c, config.block_c)
    _product_kernel[(tiles,)](
        left, weight, bias, s, right, bits, routes.rows, routes.owner, table, out, m, c, depth, routes.rows.shape[0],
        *left.stride(), *weight.stride(), *right.stride(),
        R=padded, BLOCK_R=min(config.block_r, padded), SCALED=scaled, EVEN=depth % config.block_d == 0,
        PRECISION=dot_precision(left.dtype), UNIT=routes.unit, GROUP=8,
        BLOCK_M=config.block_m, BLOCK_C=config.block_c, BLOCK_D=config.block_d,
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["M", "places"])
def _product_kernel(  # type: ignore[no-untyped-def]
    left, weight, bias, s, right, bits, rows, owner, table, out, M, C, D, places,
    left_stride_m, left_stride_d, weight_stride_d, weight_stride_c, right_stride_r, right_stride_c,
    R: tl.constexpr, BLOCK_R: tl.constexpr, SCALED: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    UNIT: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tile_m, tile_c = tile_of(tl.program_id(0), places // BLOCK_M, tl.cdiv(C, BLOCK_C), GROUP)
    adapter = tl.load(owner + tile_m * BLOCK_M // UNIT)
    if adapter < 0:
        return
    m = tl.load(rows + tile_m * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    if tl.min(m) == M:
        return
    start, rank, scaling, _ = numbers_of(table, adapter)
    total = masked_update(
        s, right, bits, m, M, C, tile_c * BLOCK_C, start, rank, right_stride_r, right_stride_c,
        R, BLOCK_R, BLOCK_M, BLOCK_C, PRECISION,
    )  # fmt: skip
    if SCALED:
        total *= scaling
    columns, d = tile_c * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D).to(tl.int64)
    # Places without a row read the tile's first, columns beyond the edge wrap around: what comes of it is not stored.
    left_tile = left + tl.where(m < M, m, tl.min(m))[:, None] * left_stride_m + d[None, :] * left_stride_d
    weight_tile = weight + d[:, None] * weight_stride_d + (columns % C).to(tl.int64)[None, :] * weight_stride_c
    left_step = tl.full((), BLOCK_D, tl.int64) * left_stride_d
    weight_step = tl.full((), BLOCK_D, tl.int64) * weight_stride_d
    for first in range(0, D, BLOCK_D):
        x = tl.load(left_tile) if EVEN else tl.load(left_tile, (d < D - first)[None, :], 0.0)
        w = tl.load(weight_tile) if EVEN else tl.load(weight_tile, (d < D - first)[:, None], 0.0)
        total = tl.dot(x, w, total, input_precision=PRECISION)
        left_tile += left_step
        weight_tile += weight_step
    if bias is not None:
        total += tl.load(bias + columns, columns < C, 0.0).to(tl.float32)[None, :]
    inside = (m < M)[:, None] & (columns < C)[None, :]
    tl.store(out + m[:, None] * C + columns[None, :], total.to(out.dtype.element_ty), inside)
