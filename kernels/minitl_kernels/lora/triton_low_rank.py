"""The masked low-rank term of the input's gradient: a tile in registers, or added to a matrix in place.

    keep_scale · mask ∘ (dS A)                                          dS [M, R], A [r, K], mask [M, K]

`masked_low_rank` makes one tile of it for whoever goes on adding: the product of `triton_grad_x.py`, or this file's
kernel, which adds it to a dY W that came from elsewhere (cuBLAS), reading and writing that matrix once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.mask import keep_scale
from minitl_kernels.lora.triton_common import MOST_REGISTERS, dot_precision, in_eights, pieces, registers, vectorised


@triton.jit
def load_keep(bits, rows, M, first_column, K, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):  # type: ignore[no-untyped-def]
    """The mask's tile [BLOCK_M, BLOCK_K], 0 or 1, from its bytes [M, ⌈K/8⌉]; `first_column` is a multiple of 8.

    A byte is loaded once and spread over an axis of eight lanes. Were each element to load the byte that it lies in, a
    tile of 128×256 in the product's prologue would spill from rank 64 on (sm_90).
    """
    groups = first_column // 8 + tl.arange(0, BLOCK_K // 8)
    row_groups = tl.cdiv(K, 8)
    inside = (rows < M)[:, None] & (groups < row_groups)[None, :]
    packed = tl.load(bits + rows.to(tl.int64)[:, None] * row_groups + groups[None, :], inside, 0)
    lanes = tl.arange(0, 8).to(tl.uint8)
    return tl.reshape((packed[:, :, None] >> lanes[None, None, :]) & 1, (BLOCK_M, BLOCK_K))


@triton.jit
def masked_low_rank(  # type: ignore[no-untyped-def]
    grad_s, lora_a, bits, M, K, rank, scale, a_stride_r, a_stride_k, first_row, first_column,
    R: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The float32 tile [BLOCK_M, BLOCK_K] of scale · mask ∘ (dS A) from `first_row` and `first_column` on.

    A few ranks at a time, so that the operands take little of the shared memory in which the caller's lie.
    """
    rows = first_row + tl.arange(0, BLOCK_M)
    columns = first_column + tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    for first in tl.range(0, R, BLOCK_R, num_stages=1):
        ranks = first + tl.arange(0, BLOCK_R)
        s = tl.load(grad_s + rows.to(tl.int64)[:, None] * R + ranks[None, :], (rows < M)[:, None], 0.0)
        places = ranks[:, None] * a_stride_r + columns.to(tl.int64)[None, :] * a_stride_k
        a = tl.load(lora_a + places, (ranks < rank)[:, None] & (columns < K)[None, :], 0.0)
        total = tl.dot(s, a.to(s.dtype), total, input_precision=PRECISION)
    if bits is not None:
        keep = load_keep(bits, rows, M, first_column, K, BLOCK_M, BLOCK_K)
        total = tl.where(keep != 0, total * scale, 0.0)
    return total


@dataclass(frozen=True)
class LowRankConfig:
    """The tile of a program, its warps, and the ranks it takes at a time."""

    block_m: int
    block_k: int
    block_r: int
    warps: int


CONFIGS = (
    LowRankConfig(128, 128, 32, 8),
    LowRankConfig(64, 128, 32, 4),
    LowRankConfig(64, 64, 32, 4),
    LowRankConfig(32, 64, 32, 4),
)


def low_rank_configs(dtype: torch.dtype, wide: bool) -> Iterator[LowRankConfig]:
    """The configurations that every chip can run; `wide` where grad_x is `vectorised`."""
    for config in CONFIGS:
        tile = config.block_m * config.block_k
        if registers(tile, tile, config.warps, wide) <= MOST_REGISTERS and (
            dtype != torch.float32 or tile <= (4096 if wide else 2048)
        ):
            yield config


def default_low_rank_config(grad_x: Tensor) -> LowRankConfig:
    """A rule for a chip that was never timed: sums that leave room for several programs on a multiprocessor."""
    configs = low_rank_configs(grad_x.dtype, vectorised(grad_x))
    return next(config for config in configs if config.warps == 4)


def add_low_rank(
    grad_x: Tensor, grad_s: Tensor, lora_a: Tensor, bits: Tensor, threshold: int, config: LowRankConfig | None = None
) -> Tensor:
    """grad_x += keep_scale · mask ∘ (dS A), in place, added in float32 and rounded once; returns grad_x.

    grad_x [M, K] contiguous; grad_s [M, R] contiguous, R the padded rank, in grad_x's dtype; lora_a [r, K];
    bits uint8 [M, ⌈K/8⌉], used where threshold > 0.
    """
    (rows, inputs), padded = grad_x.shape, grad_s.shape[1]
    config = config or default_low_rank_config(grad_x)
    _add_kernel[(pieces(rows, config.block_m), pieces(inputs, config.block_k))](
        grad_x, grad_s, lora_a, bits if threshold else None, rows, inputs, lora_a.shape[0], keep_scale(threshold),
        *lora_a.stride(), R=padded, BLOCK_R=min(config.block_r, padded), EIGHTS=vectorised(grad_x),
        BLOCK_M=config.block_m, BLOCK_K=config.block_k, PRECISION=dot_precision(grad_x.dtype), num_warps=config.warps,
    )  # fmt: skip
    return grad_x


@triton.jit(do_not_specialize=["M"])
def _add_kernel(  # type: ignore[no-untyped-def]
    grad_x, grad_s, lora_a, bits, M, K, rank, scale, a_stride_r, a_stride_k,
    R: tl.constexpr, BLOCK_R: tl.constexpr, EIGHTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    K = in_eights(K, EIGHTS)
    first_row, first_column = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_K
    term = masked_low_rank(
        grad_s, lora_a, bits, M, K, rank, scale, a_stride_r, a_stride_k, first_row, first_column,
        R, BLOCK_R, BLOCK_M, BLOCK_K, PRECISION,
    )  # fmt: skip
    rows, columns = first_row + tl.arange(0, BLOCK_M), first_column + tl.arange(0, BLOCK_K)
    tile = grad_x + rows.to(tl.int64)[:, None] * K + columns[None, :]
    inside = (rows < M)[:, None] & (columns < K)[None, :]
    total = tl.load(tile, inside, 0.0).to(tl.float32) + term
    tl.store(tile, total.to(grad_x.dtype.element_ty), inside)
