"""`lora_linear_multi` as one update of rank Σrᵢ: every row meets every adapter, and all but its own are zeroed.

          r₀  r₁  r₂
    row 0 ▓▓  ·   ·        S = (x̂ [A₀; A₁; A₂]ᵀ) ∘ shares,   shares [M, Σrᵢ]: the factors of the row's adapter,
    row 1 ·   ·   ▓▓                                         0 in the columns of the others
    row 2 ▓▓  ·   ·        y = x Wᵀ + b + S [B₀ B₁ B₂]ᵀ

Nothing depends on where the rows of an adapter lie, so nothing waits for the device, and few adapters of small rank
cost hardly more than one. The arithmetic grows with the number of adapters: see `multi_segments` for many.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.lora.adapters import Adapters, draw_mixed_keep, masked
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.plain import wide_product, wide_type


def saved_shapes(rows: int, columns: int, adapters: Adapters) -> list[tuple[tuple[int, ...], torch.dtype | None]]:  # noqa: ARG001
    """Shapes and types of what `forward` returns beside y."""
    return [((rows, sum(adapters.ranks)), None)]


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, ids: Tensor, seed: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """y [M, N] and S [M, Σr], for x [M, K] and ids [M]."""
    keep = draw_mixed_keep(seed, ids, x.shape[1], adapters.thresholds)
    s = masked(x, keep) @ _stacked_a(adapters, x.dtype).t()
    s.mul_(_shares(ids, adapters, x.dtype))
    return F.linear(x, weight, bias).addmm_(s, _stacked_b(adapters, x.dtype)), [s]


def backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    adapters: Adapters,
    ids: Tensor,
    saved: list[Tensor],
    seed: Tensor | None,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The needed gradients of x [M, K], of all A [Σr, K], of all Bᵀ [Σr, N], and of b; those of A and B are wide."""
    grad_x = grad_a = grad_b = grad_bias = None
    if needs.bias:
        grad_bias = grad_y.sum(dim=0, dtype=wide_type(grad_y.dtype)).to(grad_y.dtype)
    if needs.lora_b:
        grad_b = wide_product(saved[0].t(), grad_y)
    if needs.x or needs.lora_a:
        grad_s = grad_y @ _stacked_b(adapters, x.dtype).t()
        grad_s.mul_(_shares(ids, adapters, x.dtype))
        keep = draw_mixed_keep(seed, ids, x.shape[1], adapters.thresholds)
        if needs.lora_a:
            grad_a = wide_product(grad_s.t(), masked(x, keep))
        if needs.x:
            grad_x, stacked = grad_y @ weight, _stacked_a(adapters, x.dtype)
            if keep is None:
                grad_x.addmm_(grad_s, stacked)
            else:
                grad_x.addcmul_(grad_s @ stacked, keep.to(x.dtype))
    return grad_x, grad_a, grad_b, grad_bias


def compose(
    x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, ids: Tensor, seed: Tensor | None
) -> Tensor:
    """The same y out of PyTorch's own differentiable operations: W may learn too, and x may have no rows."""
    keep = draw_mixed_keep(seed, ids, x.shape[1], adapters.thresholds)
    kept = x if keep is None else x * keep
    s = F.linear(kept, _stacked_a(adapters, x.dtype)) * _shares(ids, adapters, x.dtype)
    return F.linear(x, weight, bias) + s.to(x.dtype) @ _stacked_b(adapters, x.dtype)


def _stacked_a(adapters: Adapters, dtype: torch.dtype) -> Tensor:
    return torch.cat([lora_a.to(dtype) for lora_a in adapters.lora_as])  # [Σr, K]


def _stacked_b(adapters: Adapters, dtype: torch.dtype) -> Tensor:
    return torch.cat([lora_b.to(dtype).t() for lora_b in adapters.lora_bs])  # [Σr, N]


def _shares(ids: Tensor, adapters: Adapters, dtype: torch.dtype) -> Tensor:
    """What each row's S is multiplied by, [M, Σr], in float32 at least: s and the dropout's scale, or 0."""
    factors = zip(adapters.scalings, adapters.keep_scales, adapters.ranks, strict=True)
    return torch.cat(
        [
            ((ids == adapter)[:, None].to(wide_type(dtype)) * (scaling * keep)).expand(-1, rank)
            for adapter, (scaling, keep, rank) in enumerate(factors)
        ],
        dim=1,
    )
