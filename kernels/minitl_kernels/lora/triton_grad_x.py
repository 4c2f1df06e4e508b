"""dX = dY W + keep_scale · mask ∘ (dS A): the product with the frozen weight, begun at the masked low-rank term.

         N            K                       R           K
       ┌───┐     ┌─────────┐                ┌───┐    ┌─────────┐
    dY │ M │ · W │ N       │  +  mask ∘  dS │ M │ · A│ R       │  =  dX [M, K]
       └───┘     └─────────┘                └───┘    └─────────┘

The term is the prologue: the sums start from it. As an epilogue it would need the finished sums, its own product and
the mask in registers at the same time, and spills. dS and A are small, so the term costs only the reading of one bit an
element, and dX is written once.

Tiles of dY and W come by address, or whole by descriptor (the copy engine, from sm_90 on), which needs no registers
for addresses and no bounds in the loop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.mask import keep_scale
from minitl_kernels.lora.triton_common import (
    MOST_REGISTERS,
    Chip,
    aligned,
    chip_of,
    dot_precision,
    in_eights,
    pieces,
    provide_scratch,
    registers,
    vectorised,
)
from minitl_kernels.lora.triton_low_rank import masked_low_rank
from minitl_kernels.lora.triton_tiles import tile_of


@dataclass(frozen=True)
class GradXConfig:
    """The tile of dX that a program makes and how it goes about it.

    block_m, block_k   the tile                      block_n   the reduction's step
    block_r            ranks of the prologue at a time
    group              rows of tiles that run together, so that they share tiles of W in the L2 cache
    tma                tiles by descriptor, for which the operands must be `aligned`
    """

    block_m: int
    block_k: int
    block_n: int
    block_r: int
    group: int
    tma: bool
    warps: int
    stages: int


def _config(m: int, k: int, n: int, warps: int, stages: int, tma: bool = False) -> GradXConfig:
    return GradXConfig(m, k, n, 32, 8, tma, warps, stages)


# The largest tiles first.
HALF = (
    *(_config(128, 256, 64, 8, stages, tma=True) for stages in (4, 3)),
    *(_config(128, 128, 64, warps, stages, tma=True) for warps in (8, 4) for stages in (4, 3)),
    _config(128, 128, 64, 8, 3),
    *(_config(m, k, 64, 4, 4, tma) for tma in (True, False) for m, k in ((64, 128), (128, 64), (64, 64))),
    _config(64, 64, 32, 4, 3),
)
FLOAT32 = (
    GradXConfig(64, 64, 32, 16, 8, False, 4, 2),
    GradXConfig(64, 64, 16, 16, 8, False, 8, 2),
    GradXConfig(32, 32, 32, 16, 8, False, 4, 2),
)


def grad_x_configs(dtype: torch.dtype, wide: bool, described: bool, chip: Chip) -> Iterator[GradXConfig]:
    """The configurations that `chip` can run: `wide` where dY and W are `vectorised`, `described` where `aligned`."""
    for config in FLOAT32 if dtype == torch.float32 else HALF:
        m, k, n = config.block_m, config.block_k, config.block_n
        if shared_bytes(config, dtype.itemsize) > chip.shared:
            continue
        fits = registers(m * k, (m + k) * n, config.warps, wide) <= MOST_REGISTERS
        if described and chip.tma if config.tma else fits:
            yield config


def shared_bytes(config: GradXConfig, itemsize: int) -> int:
    """An upper bound of the shared memory that a program needs: tiles in flight, and the prologue's beside them."""
    tiles = config.stages * config.block_n + config.block_r
    return (config.block_m + config.block_k) * tiles * itemsize + 256


def default_grad_x_config(grad_y: Tensor, weight: Tensor) -> GradXConfig:
    """A rule for a chip that was never timed: the largest tiles of which there is one for each multiprocessor.

    Where none are so many, the most tiles, and of those the shortest: few programs want many bytes in flight each.
    """
    wide, described = vectorised(grad_y, weight), aligned(grad_y) and aligned(weight)
    return _rule(grad_y.shape[0], weight.shape[1], grad_y.dtype, wide, described, chip_of(grad_y.device))


@lru_cache(maxsize=4096)
def _rule(rows: int, inputs: int, dtype: torch.dtype, wide: bool, described: bool, chip: Chip) -> GradXConfig:
    def tiles(config: GradXConfig) -> int:
        return pieces(rows, config.block_m) * pieces(inputs, config.block_k)

    configs = list(grad_x_configs(dtype, wide, described, chip))
    enough = (config for config in configs if tiles(config) >= chip.multiprocessors)
    return next(enough, None) or max(configs, key=lambda config: (tiles(config), -config.block_m))


def grad_x(
    grad_y: Tensor, weight: Tensor, grad_s: Tensor, lora_a: Tensor, bits: Tensor, threshold: int,
    config: GradXConfig | None = None,
) -> Tensor:  # fmt: skip
    """dX [M, K] in dY's dtype, contiguous.

    grad_y [M, N] of any strides; weight [N, K] in grad_y's dtype; grad_s [M, R] contiguous, R the padded rank, in
    grad_y's dtype; lora_a [r, K], float32 or grad_y's dtype; bits uint8 [M, ⌈K/8⌉], used where threshold > 0.
    """
    (rows, outputs), inputs, padded = grad_y.shape, weight.shape[1], grad_s.shape[1]
    config = config or default_grad_x_config(grad_y, weight)
    if config.tma:
        provide_scratch()
    out = grad_y.new_empty((rows, inputs))
    tiles = pieces(rows, config.block_m) * pieces(inputs, config.block_k)
    _grad_x_kernel[(tiles,)](
        grad_y, weight, grad_s, lora_a, bits if threshold else None, out, rows, outputs, inputs, lora_a.shape[0],
        keep_scale(threshold), *grad_y.stride(), *weight.stride(), *lora_a.stride(),
        R=padded, BLOCK_R=min(config.block_r, padded), BLOCK_M=config.block_m, BLOCK_K=config.block_k,
        BLOCK_N=config.block_n, GROUP=config.group, EVEN=outputs % config.block_n == 0,
        EIGHTS=vectorised(grad_y, weight), DESCRIPTOR=config.tma, PRECISION=dot_precision(grad_y.dtype),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["M"])
def _grad_x_kernel(  # type: ignore[no-untyped-def]
    grad_y, weight, grad_s, lora_a, bits, grad_x, M, N, K, rank, scale,
    y_stride_m, y_stride_n, w_stride_n, w_stride_k, a_stride_r, a_stride_k,
    R: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
    GROUP: tl.constexpr, EVEN: tl.constexpr, EIGHTS: tl.constexpr, DESCRIPTOR: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    N, K = in_eights(N, EIGHTS), in_eights(K, EIGHTS)
    y_stride_m, w_stride_n = in_eights(y_stride_m, EIGHTS), in_eights(w_stride_n, EIGHTS)
    tile_m, tile_k = tile_of(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.cdiv(K, BLOCK_K), GROUP)
    first_row, first_column = tile_m * BLOCK_M, tile_k * BLOCK_K
    total = masked_low_rank(
        grad_s, lora_a, bits, M, K, rank, scale, a_stride_r, a_stride_k, first_row, first_column,
        R, BLOCK_R, BLOCK_M, BLOCK_K, PRECISION,
    )  # fmt: skip
    rows, columns = first_row + tl.arange(0, BLOCK_M), first_column + tl.arange(0, BLOCK_K)
    if DESCRIPTOR:
        y_tiles = tl.make_tensor_descriptor(grad_y, [M, N], [y_stride_m, 1], [BLOCK_M, BLOCK_N])
        w_tiles = tl.make_tensor_descriptor(weight, [N, K], [w_stride_n, 1], [BLOCK_N, BLOCK_K])
        for n in range(0, N, BLOCK_N):
            y, w = y_tiles.load([first_row, n]), w_tiles.load([n, first_column])
            total = tl.dot(y, w, total, input_precision=PRECISION)
    else:
        # Rows and columns beyond the edge wrap around: what they add is not stored, and the loop needs no bounds.
        n = tl.arange(0, BLOCK_N).to(tl.int64)
        y_tile = grad_y + (rows % M).to(tl.int64)[:, None] * y_stride_m + n[None, :] * y_stride_n
        w_tile = weight + n[:, None] * w_stride_n + (columns % K).to(tl.int64)[None, :] * w_stride_k
        y_step = tl.full((), BLOCK_N, tl.int64) * y_stride_n
        w_step = tl.full((), BLOCK_N, tl.int64) * w_stride_n
        for first in range(0, N, BLOCK_N):
            y = tl.load(y_tile) if EVEN else tl.load(y_tile, (n < N - first)[None, :], 0.0)
            w = tl.load(w_tile) if EVEN else tl.load(w_tile, (n < N - first)[:, None], 0.0)
            total = tl.dot(y, w, total, input_precision=PRECISION)
            y_tile += y_step
            w_tile += w_step
    tile = grad_x + rows.to(tl.int64)[:, None] * K + columns[None, :]
    tl.store(tile, total.to(grad_x.dtype.element_ty), (rows < M)[:, None] & (columns < K)[None, :])
