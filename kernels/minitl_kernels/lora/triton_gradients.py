"""dS, dB and the bias's gradient in one pass over dY, which is what all three read.

    dS = s · dY B  [M, R]          dB = s · dYᵀ S  [N, r]          db = Σ_m dY  [N]

          held
    ┌──┬──────┬──┐     a program holds B for some of dY's columns, and their sums for dB and db, in registers and
    │  │ tile │  │     goes down one range of rows; a tile gives dB and db one term, and dS the part of the tile's
 dY │  │  ↓   │  │     rows that these columns contribute
    └──┴──────┴──┘

Workspace, in float32: one part of dS for each block of columns, ⌈N / held⌉ · M · R elements, and one of dB and db for
each range of rows, ranges · N · (r + 1). In bytes beside those of dY (e bytes an element) that is 4R / (e · held) and
4r / (e · rows of a range): at r = 16 in bf16 with 256 columns and 512 rows, an eighth and a sixteenth. What is in one
part only is written where it belongs, and takes no workspace.

The parts of dS grow with the rank: at R = 64 they cost (written, and read again) what a second reading of dY does. From
there on dS is computed on its own, each program holding rows and going along the columns.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.triton_common import chip_of, dot_precision, in_eights, pieces, vectorised
from minitl_kernels.lora.triton_parts import Sum, SumsConfig, add_parts, cut, default_sums_config

SEPARATE_FROM = 64  # the padded rank from which the parts of dS cost as much as a second pass over dY


def grad_s_and_b(
    grad_y: Tensor, s: Tensor, lora_b: Tensor, scaling: float, needs: Needs, bias_dtype: torch.dtype | None,
    config: SumsConfig | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """dS [M, R] in dY's dtype, dB [N, r] in B's, db [N] in `bias_dtype`; None for what is not needed.

    grad_y [M, N] of any strides; s [M, R] contiguous, R the padded rank, columns from r on zero; lora_b [N, r]. dS is
    needed by the gradients of x and of A, and its columns from r on are zero.
    """
    (rows, outputs), padded = grad_y.shape, s.shape[1]
    config = config or default_sums_config(
        rows, outputs, grad_y.dtype, padded, vectorised(grad_y), chip_of(grad_y.device)
    )
    grad_s = torch.empty_like(s) if needs.x or needs.lora_a else None
    grad_b = torch.empty_like(lora_b, memory_format=torch.contiguous_format) if needs.lora_b else None
    grad_bias = grad_y.new_empty(outputs, dtype=bias_dtype) if needs.bias else None
    sums: list[Sum] = []
    fused = padded < SEPARATE_FROM and grad_b is not None  # dS alone has no use for this order, nor for its parts
    if grad_s is not None and not fused:
        _launch_grad_s(grad_y, lora_b, grad_s, scaling, config, sums)
    _launch_columns(grad_y, s, lora_b, grad_s if fused else None, grad_b, grad_bias, scaling, config, sums)
    add_parts(*sums)
    return grad_s, grad_b, grad_bias


def _parted(out: Tensor | None, count: int, scale: float, sums: list[Sum]) -> tuple[Tensor | None, float]:
    """Where a kernel writes and by what it multiplies: into `out` itself, or into parts that `sums` remembers."""
    if out is None or count == 1:
        return out, scale
    sums.append(Sum(out.new_empty((count, *out.shape), dtype=torch.float32), out, scale))
    return sums[-1].parts, 1.0


def _launch_columns(
    grad_y: Tensor, s: Tensor, lora_b: Tensor, grad_s: Tensor | None, grad_b: Tensor | None, grad_bias: Tensor | None,
    scaling: float, config: SumsConfig, sums: list[Sum],
) -> None:  # fmt: skip
    if grad_s is None and grad_b is None and grad_bias is None:
        return
    (rows, outputs), rank = grad_y.shape, lora_b.shape[1]
    blocks = pieces(outputs, config.held)
    ranges = cut(rows, config.step, blocks, config.waves, grad_y.element_size(), rank, grad_y.device)
    s_target, s_scale = _parted(grad_s, blocks, scaling, sums)
    b_target, b_scale = _parted(grad_b, ranges.number, scaling, sums)
    bias_target, _ = _parted(grad_bias, ranges.number, 1.0, sums)
    _columns_kernel[(blocks, ranges.number)](
        grad_y, s, lora_b, s_target, b_target, bias_target, rows, outputs, rank, ranges.steps, s_scale, b_scale,
        *grad_y.stride(), *lora_b.stride(),
        R=s.shape[1], EIGHTS=vectorised(grad_y), BLOCK_M=config.step, BLOCK_N=config.held,
        PRECISION=dot_precision(grad_y.dtype), num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


@triton.jit(do_not_specialize=["M", "steps"])
def _columns_kernel(  # type: ignore[no-untyped-def]
    grad_y, s, lora_b, grad_s, grad_b, grad_bias, M, N, rank, steps, s_scale, b_scale,
    y_stride_m, y_stride_n, b_stride_n, b_stride_r,
    R: tl.constexpr, EIGHTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    N, y_stride_m = in_eights(N, EIGHTS), in_eights(y_stride_m, EIGHTS)
    block, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    columns, ranks = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, R)
    b_inside = (columns < N)[:, None] & (ranks < rank)[None, :]
    if grad_s is not None:
        b = tl.load(lora_b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, b_inside, 0.0)
        b = b.to(grad_y.dtype.element_ty)
    b_sum = tl.zeros((BLOCK_N, R), tl.float32)
    bias_sum = tl.zeros((BLOCK_N,), tl.float32)
    start = tl.program_id(1) * steps * BLOCK_M
    for first in range(start, min(start + steps * BLOCK_M, M), BLOCK_M):
        rows = first + tl.arange(0, BLOCK_M).to(tl.int64)
        inside = (rows < M)[:, None]
        places = rows[:, None] * y_stride_m + columns[None, :] * y_stride_n
        tile = tl.load(grad_y + places, inside & (columns < N)[None, :], 0.0)
        if grad_s is not None:
            terms = tl.dot(tile, b, input_precision=PRECISION) * s_scale
            target = grad_s + (block * M + rows)[:, None] * R + ranks[None, :]
            tl.store(target, terms.to(grad_s.dtype.element_ty), inside)
        if grad_b is not None:
            s_tile = tl.load(s + rows[:, None] * R + ranks[None, :], inside, 0.0)
            b_sum = tl.dot(tile.T, s_tile, b_sum, input_precision=PRECISION)
        if grad_bias is not None:
            bias_sum += tl.sum(tile.to(tl.float32), axis=0)
    if grad_b is not None:
        target = grad_b + (part * N + columns)[:, None] * rank + ranks[None, :]
        tl.store(target, (b_sum * b_scale).to(grad_b.dtype.element_ty), b_inside)
    if grad_bias is not None:
        tl.store(grad_bias + part * N + columns, bias_sum.to(grad_bias.dtype.element_ty), columns < N)


def _launch_grad_s(
    grad_y: Tensor, lora_b: Tensor, grad_s: Tensor, scaling: float, config: SumsConfig, sums: list[Sum]
) -> None:
    (rows, outputs), (_, padded) = grad_y.shape, grad_s.shape
    blocks = pieces(rows, config.held)
    ranges = cut(outputs, config.step, blocks, config.waves, grad_y.element_size(), padded, grad_y.device)
    target, scale = _parted(grad_s, ranges.number, scaling, sums)
    _grad_s_kernel[(blocks, ranges.number)](
        grad_y, lora_b, target, rows, outputs, lora_b.shape[1], ranges.steps, scale,
        *grad_y.stride(), *lora_b.stride(),
        R=padded, EIGHTS=vectorised(grad_y), BLOCK_M=config.held, BLOCK_N=config.step,
        PRECISION=dot_precision(grad_y.dtype), num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


@triton.jit(do_not_specialize=["M", "steps"])
def _grad_s_kernel(  # type: ignore[no-untyped-def]
    grad_y, lora_b, grad_s, M, N, rank, steps, scale, y_stride_m, y_stride_n, b_stride_n, b_stride_r,
    R: tl.constexpr, EIGHTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    N, y_stride_m = in_eights(N, EIGHTS), in_eights(y_stride_m, EIGHTS)
    rows, ranks = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, R)
    total = tl.zeros((BLOCK_M, R), tl.float32)
    start = tl.program_id(1) * steps * BLOCK_N
    for first in range(start, min(start + steps * BLOCK_N, N), BLOCK_N):
        columns = first + tl.arange(0, BLOCK_N).to(tl.int64)
        places = rows[:, None] * y_stride_m + columns[None, :] * y_stride_n
        tile = tl.load(grad_y + places, (rows < M)[:, None] & (columns < N)[None, :], 0.0)
        inside = (columns < N)[:, None] & (ranks < rank)[None, :]
        b = tl.load(lora_b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, inside, 0.0)
        total = tl.dot(tile, b.to(tile.dtype), total, input_precision=PRECISION)
    target = grad_s + (tl.program_id(1).to(tl.int64) * M + rows)[:, None] * R + ranks[None, :]
    tl.store(target, (total * scale).to(grad_s.dtype.element_ty), (rows < M)[:, None])
