"""`lora_linear` in plain PyTorch: what every other path computes, on any device and in any type.

    x̂ = mask ∘ x,  scale = 1 / (1 - p)               dS = s · dY B           dB = s · dYᵀ S       db = Σ dY
    S = scale · x̂ Aᵀ                                 dX = dY W + scale · mask ∘ (dS A)
    y = x Wᵀ + b + s · S Bᵀ                          dA = scale · dSᵀ x̂

In the code S is `s`, and the factor s `scaling`. The update is added where y and dX lie, so that nothing of their size
is made twice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.lora.inputs import Gradients, Inputs, Needs, Shape
from minitl_kernels.lora.mask import draw_keep, keep_scale
from minitl_kernels.lora.philox import pack_bits, unpack_bits


def saved_shapes(rows: int, columns: int, r: int, threshold: int) -> tuple[Shape, Shape]:
    """The shapes of S and of the mask's bits, which `forward` returns beside y."""
    return (rows, r), (rows, (columns + 7) // 8) if threshold else (0,)


def forward(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y [M, N], S [M, r] and the mask's bits."""
    x, weight, bias, lora_a, lora_b, scaling, threshold, seed = inputs
    kept, bits = x, torch.empty(0, dtype=torch.uint8, device=x.device)
    if threshold:
        assert seed is not None
        keep = draw_keep(seed, x.shape[0], x.shape[1], threshold)
        kept, bits = x * keep, pack_bits(keep)
    s = scaled_product(kept, lora_a.to(x.dtype).t(), keep_scale(threshold))
    y = F.linear(x, weight, bias)
    return y.addmm_(s, lora_b.to(x.dtype).t(), alpha=scaling), s, bits


def backward(grad_y: Tensor, inputs: Inputs, s: Tensor, bits: Tensor, needs: Needs) -> Gradients:
    """The gradients of x, A, B and b that are needed, for grad_y [M, N]."""
    x, weight, _, lora_a, lora_b, scaling, threshold, _ = inputs
    grad_x = grad_a = grad_b = grad_bias = None
    scale = keep_scale(threshold)
    keep = unpack_bits(bits, x.shape[1]) if threshold else None
    if needs.bias:
        grad_bias = grad_y.sum(dim=0, dtype=wide_type(grad_y.dtype)).to(grad_y.dtype)
    if needs.lora_b:
        grad_b = (wide_product(grad_y.t(), s) * scaling).to(lora_b.dtype)
    if needs.x or needs.lora_a:
        grad_s = scaled_product(grad_y, lora_b.to(x.dtype), scaling)
        if needs.lora_a:
            kept = x if keep is None else x * keep
            grad_a = (wide_product(grad_s.t(), kept) * scale).to(lora_a.dtype)
        if needs.x:
            grad_x = grad_y @ weight
            if keep is None:
                grad_x.addmm_(grad_s, lora_a.to(x.dtype))
            else:
                grad_x.addcmul_(grad_s @ lora_a.to(x.dtype), keep.to(x.dtype), value=scale)
    return grad_x, grad_a, grad_b, grad_bias


def compose(inputs: Inputs) -> Tensor:
    """The same y for x [..., K] out of PyTorch's own differentiable operations: W may learn too, all may be empty."""
    x, weight, bias, lora_a, lora_b, scaling, threshold, seed = inputs
    kept = x
    if threshold:
        assert seed is not None
        rows = x.numel() // x.shape[-1] if x.numel() else 0
        kept = x * draw_keep(seed, rows, x.shape[-1], threshold).view(x.shape) * keep_scale(threshold)
    update = F.linear(F.linear(kept, lora_a.to(x.dtype)), lora_b.to(x.dtype))
    return F.linear(x, weight, bias) + scaling * update


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale · left @ right, scaled before it is rounded."""
    return torch.addmm(left.new_zeros(()), left, right, beta=0, alpha=scale)


def wide_type(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right as it was accumulated, in float32 at least: gradients of float32 parameters are not rounded."""
    wide = wide_type(left.dtype)
    if wide == left.dtype:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=wide)
    return left.to(wide) @ right.to(wide)
