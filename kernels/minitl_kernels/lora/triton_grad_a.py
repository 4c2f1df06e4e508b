"""dA = keep_scale · dSᵀ (mask ∘ x): the gradient of A in one pass over x, under the stored mask.

          held
    ┌──┬──────┬──┐     a program holds the sums for some of x's columns, [held, R], in registers and goes down
    │  │ tile │  │     one range of rows; a tile loses what dropout dropped, by one byte of the mask for eight
  x │  │  ↓   │  │     elements
    └──┴──────┴──┘

Workspace: one float32 part of dA for each range of rows, ranges · r · K elements; beside the bytes of x (e bytes an
element) that is 4r / (e · rows of a range), at r = 16 in bf16 with 512 rows a sixteenth. One range writes dA itself.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.mask import keep_scale
from minitl_kernels.lora.triton_common import chip_of, dot_precision, in_eights, pieces, vectorised
from minitl_kernels.lora.triton_low_rank import load_keep
from minitl_kernels.lora.triton_parts import Sum, SumsConfig, add_parts, cut, default_sums_config


def grad_a(
    grad_s: Tensor, x: Tensor, lora_a: Tensor, bits: Tensor, threshold: int, config: SumsConfig | None = None
) -> Tensor:
    """dA [r, K] in A's dtype.

    grad_s [M, R] contiguous, R the padded rank, in x's dtype; x [M, K] of any strides; bits uint8 [M, ⌈K/8⌉], used
    where threshold > 0.
    """
    (rows, inputs), (rank, _), padded = x.shape, lora_a.shape, grad_s.shape[1]
    config = config or default_sums_config(rows, inputs, x.dtype, padded, vectorised(x), chip_of(x.device))
    out = torch.empty_like(lora_a, memory_format=torch.contiguous_format)
    blocks = pieces(inputs, config.held)
    ranges = cut(rows, config.step, blocks, config.waves, x.element_size(), rank, x.device)
    scale = keep_scale(threshold)
    target = out if ranges.number == 1 else out.new_empty((ranges.number, rank, inputs), dtype=torch.float32)
    _grad_a_kernel[(blocks, ranges.number)](
        grad_s, x, bits if threshold else None, target, rows, inputs, rank, ranges.steps,
        scale if target is out else 1.0, *x.stride(),
        R=padded, EIGHTS=vectorised(x), BLOCK_M=config.step, BLOCK_K=config.held, PRECISION=dot_precision(x.dtype),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    if target is not out:
        add_parts(Sum(target, out, scale))
    return out


@triton.jit(do_not_specialize=["M", "steps"])
def _grad_a_kernel(  # type: ignore[no-untyped-def]
    grad_s, x, bits, grad_a, M, K, rank, steps, scale, x_stride_m, x_stride_k,
    R: tl.constexpr, EIGHTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    K, x_stride_m = in_eights(K, EIGHTS), in_eights(x_stride_m, EIGHTS)
    columns, ranks = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K), tl.arange(0, R)
    total = tl.zeros((BLOCK_K, R), tl.float32)
    start = tl.program_id(1) * steps * BLOCK_M
    for first in range(start, min(start + steps * BLOCK_M, M), BLOCK_M):
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
