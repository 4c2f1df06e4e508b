"""A LoRA layer in LoRAFusion's way (Zhu et al. 2025, arXiv:2510.00206), written here from its description.

    forward    x ─ dropout ─► x̂, mask        S = x̂ Aᵀ (cuBLAS)        y = s · S Bᵀ, then + x Wᵀ      in one kernel
    backward   dY ─ one pass ─► dS, dB (atomics)       dA = dSᵀ x̂ (cuBLAS)      dX = mask(dS A), then + dY W

It saves x̂ and one byte of mask for each element. Unlike the described one it takes any rank, no dropout, 2-D inputs
and a seed that graphs draw anew.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable


def lorafusion_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float, p: float
) -> Tensor:
    """y = xWᵀ + b + s · dropout(x)AᵀBᵀ for x [..., K], W [N, K], A [r, K], B [N, r], all of one type."""
    y: Tensor = _LoraFusionStyle.apply(x.reshape(-1, x.shape[-1]), weight, bias, a, b, scaling, p)
    return y.view(*x.shape[:-1], -1)


class _LoraFusionStyle(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float, p: float
    ) -> Tensor:
        x = x.contiguous()
        kept, mask = dropped(x, p) if p else (x, None)
        s = kept @ a.t()
        y = product(x, weight.t(), s, b.t(), scaling, bias=bias)
        ctx.save_for_backward(kept, mask, s, weight, a, b)
        ctx.scaling, ctx.p = scaling, p
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        kept, mask, s, weight, a, b = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        grad_s, grad_b = low_rank_gradients(grad_y, s, b, ctx.scaling)
        grad_a = grad_s.t() @ kept
        grad_x = product(grad_y, weight, grad_s, a, 1 / (1 - ctx.p), mask=mask)
        return grad_x, None, None, grad_a, grad_b, None, None


def dropped(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """dropout(x) and its mask, bool, True where x is kept; x is contiguous."""
    kept, mask = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
    seed = torch.randint(2**31 - 1, (), device=x.device)
    block = 1024
    _dropout[(triton.cdiv(x.numel(), block),)](x, kept, mask, seed, x.numel(), p, 1 / (1 - p), BLOCK=block)
    return kept, mask


def product(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    t: Tensor,
    scale: float,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """x [M, K] @ w [K, N] + scale · mask ∘ (s [M, r] @ t [r, N]) + bias [N], rounded once."""
    (rows, inner), (_, columns), r = x.shape, w.shape, s.shape[1]
    y = x.new_empty(rows, columns)

    def grid(meta: dict[str, Any]) -> tuple[int]:
        return (triton.cdiv(rows, meta["BLOCK_M"]) * triton.cdiv(columns, meta["BLOCK_N"]),)

    _product[grid](
        *(x, w, s, t, y if bias is None else bias, y if mask is None else mask, y),
        *(rows, columns, inner, r),
        *(*x.stride(), *w.stride(), *s.stride(), *t.stride()),
        scale,
        R=_padded(r),
        HAS_BIAS=bias is not None,
        HAS_MASK=mask is not None,
    )
    return y


def low_rank_gradients(grad_y: Tensor, s: Tensor, b: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """s · dY B and s · dYᵀ S in one pass over dY [M, N]; the second is summed by atomic additions in float32."""
    (rows, columns), r = grad_y.shape, s.shape[1]
    grad_s = grad_y.new_empty(rows, r)
    grad_b = torch.zeros(columns, r, dtype=torch.float32, device=grad_y.device)
    block = 64
    _low_rank_gradients[(triton.cdiv(rows, block),)](
        *(grad_y, s, b, grad_s, grad_b, rows, columns, r, *s.stride(), *b.stride(), scaling),
        R=_padded(r),
        BLOCK_M=block,
        BLOCK_N=64,
    )
    return grad_s, grad_b.to(b.dtype)


def _padded(r: int) -> int:
    return max(16, triton.next_power_of_2(r))


@triton.jit
def _dropout(x, kept, mask, seed, count, p, scale, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    keep = tl.rand(tl.load(seed), offsets) >= p
    values = tl.load(x + offsets, mask=inside).to(tl.float32) * scale
    tl.store(kept + offsets, tl.where(keep, values, 0.0).to(kept.dtype.element_ty), mask=inside)
    tl.store(mask + offsets, keep, mask=inside)


@triton.autotune(
    configs=[
        triton.Config({"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64}, num_warps=8, num_stages=3),
        triton.Config({"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64}, num_warps=8, num_stages=3),
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 64}, num_warps=4, num_stages=4),
    ],
    key=["inner", "columns", "R", "HAS_MASK"],
)
@triton.heuristics({"EVEN_K": lambda args: args["inner"] % args["BLOCK_K"] == 0})
@triton.jit
def _product(  # type: ignore[no-untyped-def]
    x,
    w,
    s,
    t,
    bias,
    mask,
    y,
    rows,
    columns,
    inner,
    rank,
    x_row,
    x_column,
    w_row,
    w_column,
    s_row,
    s_column,
    t_row,
    t_column,
    scale,
    R: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    EVEN_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # Tiles in groups of eight rows of tiles, so that neighbours in time share what they read.
    down, across = tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N)
    tile = tl.program_id(0)
    first = tile // (8 * across) * 8
    height = min(down - first, 8)
    m = (first + tile % (8 * across) % height) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tile % (8 * across) // height * BLOCK_N + tl.arange(0, BLOCK_N)
    m, n, ks, ranks = m.to(tl.int64), n.to(tl.int64), tl.arange(0, BLOCK_K), tl.arange(0, R)
    in_m, in_n, in_r = m < rows, n < columns, ranks < rank
    low = tl.load(s + m[:, None] * s_row + ranks[None, :] * s_column, mask=in_m[:, None] & in_r[None, :], other=0.0)
    up = tl.load(t + ranks[:, None] * t_row + n[None, :] * t_column, mask=in_r[:, None] & in_n[None, :], other=0.0)
    total = tl.dot(low, up) * scale
    inside = in_m[:, None] & in_n[None, :]
    places = m[:, None] * columns + n[None, :]
    if HAS_MASK:
        total = tl.where(tl.load(mask + places, mask=inside, other=0) != 0, total, 0.0)
    left = x + m[:, None] * x_row + ks[None, :] * x_column
    right = w + ks[:, None] * w_row + n[None, :] * w_column
    for k in range(0, inner, BLOCK_K):
        if EVEN_K:
            a = tl.load(left, mask=in_m[:, None], other=0.0)
            b = tl.load(right, mask=in_n[None, :], other=0.0)
        else:
            a = tl.load(left, mask=in_m[:, None] & (ks[None, :] < inner - k), other=0.0)
            b = tl.load(right, mask=in_n[None, :] & (ks[:, None] < inner - k), other=0.0)
        total = tl.dot(a, b, total)
        left += BLOCK_K * x_column
        right += BLOCK_K * w_row
    if HAS_BIAS:
        total += tl.load(bias + n, mask=in_n, other=0.0).to(tl.float32)[None, :]
    tl.store(y + places, total.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _low_rank_gradients(  # type: ignore[no-untyped-def]
    grad_y,
    s,
    b,
    grad_s,
    grad_b,
    rows,
    columns,
    rank,
    s_row,
    s_column,
    b_row,
    b_column,
    scaling,
    R: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    ranks = tl.arange(0, R)
    in_m, in_r = m < rows, ranks < rank
    low = tl.load(s + m[:, None] * s_row + ranks[None, :] * s_column, mask=in_m[:, None] & in_r[None, :], other=0.0)
    total = tl.zeros([BLOCK_M, R], dtype=tl.float32)
    for start in range(0, columns, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        in_n = n < columns
        dy = tl.load(grad_y + m[:, None] * columns + n[None, :], mask=in_m[:, None] & in_n[None, :], other=0.0)
        inside = in_n[:, None] & in_r[None, :]
        up = tl.load(b + n[:, None] * b_row + ranks[None, :] * b_column, mask=inside, other=0.0)
        total = tl.dot(dy, up, total)
        update = tl.dot(tl.trans(dy), low) * scaling
        tl.atomic_add(grad_b + n[:, None] * rank + ranks[None, :], update, mask=inside)
    values = (total * scaling).to(grad_s.dtype.element_ty)
    tl.store(grad_s + m[:, None] * rank + ranks[None, :], values, mask=in_m[:, None] & in_r[None, :])
