"""dS, dB and the bias's gradient in one pass over dY, which is what all three read.

    dS = s · dY B  [M, R]          dB = s · dYᵀ S  [N, r]          db = Σ_m dY  [N]

                     held
               ┌──┬──────┬──┐       a program holds its columns' rows of B, and their sums for dB and db, in registers,
               │  │ tile │  │       and goes down one range of rows; each tile gives dB and db one term, and dS the part
          dY   │  │  ↓   │  │       of the tile's rows that these columns contribute
               └──┴──────┴──┘

Workspace, in float32: one part of dS for each block of columns, ⌈N / held⌉ · M · R elements, and one of dB and db for each
range of rows, ranges · N · (r + 1). In bytes beside those of dY (e bytes an element) that is 4R / (e · held) and
4r / (e · span): at r = 16 in bf16 with 256 columns and ranges of 512 rows, an eighth and a sixteenth. What is one part
only is written where it belongs, and costs nothing.

The parts of dS grow with the rank: from r = 64 on it is cheaper to read dY twice, and `fused = False` computes dS on its
own, each program holding rows and going along the columns.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.needs import Needs
from minitl_kernels.lora.triton_common import dot_precision, multiprocessors
from minitl_kernels.lora.triton_parts import Ranges, Sum, add_parts, cut, share_limit


@dataclass(frozen=True)
class GradientsConfig:
    """How dY is cut.

    held    rows or columns whose sums a program keeps        step    how many it takes in at a time
    waves   programs for each multiprocessor of the chip       fused   all in one pass, or dS on its own
    """

    held: int
    step: int
    waves: int
    fused: bool
    warps: int
    stages: int


CONFIGS = tuple(
    GradientsConfig(held, step, waves, fused, warps, 3)
    for held, step, warps in ((256, 64, 8), (256, 32, 8), (256, 32, 4), (128, 64, 4), (128, 64, 8), (64, 64, 4))
    for waves in (1, 2)
    for fused in (True, False)
)


def default_config(rows: int, outputs: int, padded: int, dtype: torch.dtype, device: torch.device) -> GradientsConfig:
    """The rule where nothing was tuned: as many columns as registers allow and as leave every multiprocessor some work."""
    if dtype == torch.float32:
        held, step, warps, stages = (64, 32, 4, 2) if padded <= 64 else (64, 16, 8, 2)
        return GradientsConfig(held, step, 2, padded <= 32, warps, stages)
    held = 256 if padded <= 32 else 128
    while held > 64 and triton.cdiv(outputs, held) * triton.cdiv(rows, 64) < multiprocessors(device):
        held //= 2
    return GradientsConfig(held, 64 if padded <= 128 else 32, 2, padded <= 32, 4 if held == 64 else 8, 3)


def grad_s_and_b(
    grad_y: Tensor, s: Tensor, lora_b: Tensor, scaling: float, needs: Needs, bias_dtype: torch.dtype | None,
    config: GradientsConfig | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """dS [M, R] in dY's dtype, dB [N, r] in B's, db [N] in `bias_dtype`; None for what is not needed.

    grad_y [M, N] of any strides; s [M, R] contiguous, R the padded rank, columns from r on zero; lora_b [N, r]. dS is
    needed by the gradients of x and of A, and its columns from r on are zero.
    """
    (rows, outputs), rank, padded = grad_y.shape, lora_b.shape[1], s.shape[1]
    config = config or default_config(rows, outputs, padded, grad_y.dtype, grad_y.device)
    grad_s = torch.empty_like(s) if needs.x or needs.lora_a else None
    grad_b = torch.empty_like(lora_b, memory_format=torch.contiguous_format) if needs.lora_b else None
    grad_bias = grad_y.new_empty(outputs, dtype=bias_dtype) if needs.bias else None
    sums: list[Sum] = []
    if grad_s is not None and not config.fused:
        _launch_grad_s(grad_y, lora_b, grad_s, scaling, config, sums)
    _launch_columns(grad_y, s, lora_b, grad_s if config.fused else None, grad_b, grad_bias, scaling, config, sums)
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
    scaling: float, config: GradientsConfig, sums: list[Sum],
) -> None:  # fmt: skip
    if grad_s is None and grad_b is None and grad_bias is None:
        return
    (rows, outputs), rank = grad_y.shape, lora_b.shape[1]
    blocks = triton.cdiv(outputs, config.held)
    limit = share_limit(rows, grad_y.element_size(), rank)
    ranges = cut(rows, config.step, blocks, config.waves, limit, grad_y.device)
    s_target, s_scale = _parted(grad_s, blocks, scaling, sums)
    b_target, b_scale = _parted(grad_b, ranges.count, scaling, sums)
    bias_target, _ = _parted(grad_bias, ranges.count, 1.0, sums)
    _columns_kernel[(blocks, ranges.count)](
        grad_y, s, lora_b, s_target, b_target, bias_target, rows, outputs, rank, ranges.span, s_scale, b_scale,
        *grad_y.stride(), *lora_b.stride(),
        R=s.shape[1], BLOCK_M=config.step, BLOCK_N=config.held, PRECISION=dot_precision(grad_y.dtype),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


@triton.jit(do_not_specialize=["M", "span"])
def _columns_kernel(  # type: ignore[no-untyped-def]
    grad_y, s, lora_b, grad_s, grad_b, grad_bias, M, N, rank, span, s_scale, b_scale,
    y_stride_m, y_stride_n, b_stride_n, b_stride_r,
    R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    block, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    columns, ranks = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, R)
    b_inside = (columns < N)[:, None] & (ranks < rank)[None, :]
    if grad_s is not None:
        b = tl.load(lora_b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, b_inside, 0.0)
        b = b.to(grad_y.dtype.element_ty)
    b_sum = tl.zeros((BLOCK_N, R), tl.float32)
    bias_sum = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(tl.program_id(1) * span, min(tl.program_id(1) * span + span, M), BLOCK_M):
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
    grad_y: Tensor, lora_b: Tensor, grad_s: Tensor, scaling: float, config: GradientsConfig, sums: list[Sum]
) -> None:
    (rows, outputs), (_, padded) = grad_y.shape, grad_s.shape
    blocks = triton.cdiv(rows, config.held)
    limit = share_limit(outputs, grad_y.element_size(), padded)
    ranges: Ranges = cut(outputs, config.step, blocks, config.waves, limit, grad_y.device)
    target, scale = _parted(grad_s, ranges.count, scaling, sums)
    _grad_s_kernel[(blocks, ranges.count)](
        grad_y, lora_b, target, rows, outputs, lora_b.shape[1], ranges.span, scale,
        *grad_y.stride(), *lora_b.stride(),
        R=padded, BLOCK_M=config.held, BLOCK_N=config.step, PRECISION=dot_precision(grad_y.dtype),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


@triton.jit(do_not_specialize=["M", "span"])
def _grad_s_kernel(  # type: ignore[no-untyped-def]
    grad_y, lora_b, grad_s, M, N, rank, span, scale, y_stride_m, y_stride_n, b_stride_n, b_stride_r,
    R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows, ranks = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, R)
    total = tl.zeros((BLOCK_M, R), tl.float32)
    for first in range(tl.program_id(1) * span, min(tl.program_id(1) * span + span, N), BLOCK_N):
        columns = first + tl.arange(0, BLOCK_N).to(tl.int64)
        places = rows[:, None] * y_stride_m + columns[None, :] * y_stride_n
        tile = tl.load(grad_y + places, (rows < M)[:, None] & (columns < N)[None, :], 0.0)
        inside = (columns < N)[:, None] & (ranks < rank)[None, :]
        b = tl.load(lora_b + columns[:, None] * b_stride_n + ranks[None, :] * b_stride_r, inside, 0.0)
        total = tl.dot(tile, b.to(tile.dtype), total, input_precision=PRECISION)
    target = grad_s + (tl.program_id(1).to(tl.int64) * M + rows)[:, None] * R + ranks[None, :]
    tl.store(target, (total * scale).to(grad_s.dtype.element_ty), (rows < M)[:, None])
