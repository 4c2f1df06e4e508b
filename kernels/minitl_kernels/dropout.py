"""Dropout that does not cost more than the matrix product before it.

On a CPU, `torch.nn.functional.dropout` draws one Bernoulli variable an element from a scalar generator, and the drawing
takes a third of a fine-tuning step. Here the mask comes from vector operations (cpu_mask.py), and a bitwise AND applies
it. On other devices, and in a compiled graph, PyTorch's own fused kernel is already bound by memory, and is used.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.cpu_mask import keep_bytes, masked, wide_mask

_DRAWS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each element of `x` with probability `p` and scale the rest by 1 / (1 - p); the identity outside training.

    On CPU p is rounded to a multiple of 2⁻¹⁶, and the scale uses the rounded value, so that the expectation is exact.
    Its seed comes from torch's CPU generator (`torch.manual_seed`). ValueError if p is not in [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability must lie in [0, 1], got {p}")
    threshold = round(p * _DRAWS)
    if not training or threshold == 0:
        return x
    if x.device.type != "cpu" or threshold == _DRAWS or torch.compiler.is_compiling():
        return F.dropout(x, p, training=True)
    seed = torch.randint(torch.iinfo(torch.int64).max, ())
    keep = keep_bytes(int(seed), x.numel(), threshold)
    return _Masked.apply(x, keep, _DRAWS / (_DRAWS - threshold))


class _Masked(torch.autograd.Function):
    """scale · mask ∘ x, which is linear in x: the derivative is the same again, however often it is taken."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        ctx.save_for_backward(keep)
        return masked(x, wide_mask(keep, x)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return _Masked.apply(grad, keep, ctx.scale), None, None
