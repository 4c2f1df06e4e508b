"""dA = keep_scale · dSᵀ (mask ∘ x): the gradient of A in one pass over x, under the stored mask.

            held
      ┌──┬──────┬──┐       a program holds the sums of some of x's columns [held, R] in registers and goes down one range
      │  │ tile │  │       of rows; each tile loses what dropout dropped, by one byte of the stored mask for eight elements
    x │  │  ↓   │  │
      └──┴──────┴──┘

Workspace: one float32 part of dA for each range of rows, ranges · r · K elements; beside the bytes of x (e bytes an
element) that is 4r / (e · span), at r = 16 in bf16 with ranges of 512 rows a sixteenth. One range writes dA itself.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import dot_precision, multiprocessors
from minitl_kernels.lora.triton_low_rank import keep_scale, load_keep
from minitl_kernels.lora.triton_parts import Sum, add_parts, cut, share_limit


@dataclass(frozen=True)
class GradAConfig:
    """How x is cut: columns held, rows taken in at a time, programs for each multiprocessor, warps, tiles in flight."""

    held: int
    step: int
    waves: int
    warps: int
    stages: int


CONFIGS = tuple(
    GradAConfig(held, step, waves, warps, stages)
    for held, step, warps in ((256, 64, 8), (256, 32, 4), (128, 64, 4), (128, 64, 8), (64, 64, 4))
    for waves in (1, 2)
    for stages in (3, 4)
)


def default_config(rows: int, inputs: int, padded: int, dtype: torch.dtype, device: torch.device) -> GradAConfig:
    """The rule where nothing was tuned: as many columns as registers allow and as leave every multiprocessor some work."""
    if dtype == torch.float32:
        return GradAConfig(64, 32, 2, 4, 2) if padded <= 64 else GradAConfig(64, 16, 2, 8, 2)
    held = 128
    while held > 64 and triton.cdiv(inputs, held) * triton.cdiv(rows, 64) < multiprocessors(device):
        held //= 2
    return GradAConfig(held, 64 if padded <= 128 else 32, 2, 8 if padded > 32 else 4, 3)


def grad_a(
    grad_s: Tensor, x: Tensor, lora_a: Tensor, bits: Tensor, threshold: int, config: GradAConfig | None = None
) -> Tensor:
    """dA [r, K] in A's dtype.

    grad_s [M, R] contiguous, R the padded rank, in x's dtype; x [M, K] of any strides; bits uint8 [M, ⌈K/8⌉], used where
    threshold > 0.
    """
    (rows, inputs), (rank, _), padded = x.shape, lora_a.shape, grad_s.shape[1]
    config = config or default_config(rows, inputs, padded, x.dtype, x.device)
    out = torch.empty_like(lora_a, memory_format=torch.contiguous_format)
    blocks = triton.cdiv(inputs, config.held)
    limit = share_limit(rows, x.element_size(), rank)
    ranges = cut(rows, config.step, blocks, config.waves, limit, x.device)
    scale = keep_scale(threshold)
    target = out if ranges.count == 1 else out.new_empty((ranges.count, rank, inputs), dtype=torch.float32)
    _grad_a_kernel[(blocks, ranges.count)](
        grad_s, x, bits if threshold else None, target, rows, inputs, rank, ranges.span,
        scale if target is out else 1.0, *x.stride(),
        R=padded, BLOCK_M=config.step, BLOCK_K=config.held, PRECISION=dot_precision(x.dtype),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    if target is not out:
        add_parts(Sum(target, out, scale))
    return out


@triton.jit(do_not_specialize=["M", "span"])
def _grad_a_kernel(  # type: ignore[no-untyped-def]
    grad_s, x, bits, grad_a, M, K, rank, span, scale, x_stride_m, x_stride_k,
    R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    columns, ranks = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K), tl.arange(0, R)
    total = tl.zeros((BLOCK_K, R), tl.float32)
    for first in range(tl.program_id(1) * span, min(tl.program_id(1) * span + span, M), BLOCK_M):
        rows = first + tl.arange(0, BLOCK_M).to(tl.int64)
        inside = (rows < M)[:, None]
        places = rows[:, None] * x_stride_m + columns[None, :] * x_stride_k
        tile = tl.load(x + places, inside & (columns < K)[None, :], 0.0)
        if bits is not None:
            keep = load_keep(bits, rows, M, tl.program_id(0) * BLOCK_K, K, BLOCK_M, BLOCK_K)
            tile = tl.where(keep != 0, tile, 0.0)
        s_tile = tl.load(grad_s + rows[:, None] * R + ranks[None, :], inside, 0.0)
        total = tl.dot(tile.T, s_tile, total, input_precision=PRECISION)
    target = grad_a + (tl.program_id(1).to(tl.int64) * rank + ranks)[None, :] * K + columns[:, None]
    stored = (columns < K)[:, None] & (ranks < rank)[None, :]
    tl.store(target, (total * scale).to(grad_a.dtype.element_ty), stored)
