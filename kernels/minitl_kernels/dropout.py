"""Dropout that does not cost more than the matrix product before it.

On a CPU, `torch.nn.functional.dropout` draws one Bernoulli variable an element from a scalar generator, and the drawing
takes a third of a fine-tuning step. Here one 64-bit draw serves four elements: it is read as four 16-bit integers, and
an element is kept where its integer is at or above the threshold p · 2¹⁶. On other devices PyTorch's own fused kernel
is already bound by memory, and is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_DRAWS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each element of `x` with probability `p` and scale the rest by 1 / (1 - p); the identity outside training.

    On CPU p is rounded to a multiple of 2⁻¹⁶, and the scale uses the rounded value, so that the expectation is exact.
    Random bits come from torch's CPU generator (`torch.manual_seed`). ValueError if p is not in [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability must lie in [0, 1], got {p}")
    threshold = round(p * _DRAWS)
    if not training or threshold == 0:
        return x
    if x.device.type != "cpu" or threshold == _DRAWS:
        return F.dropout(x, p, training=True)
    return _WordDropout.apply(x, threshold)


def _keep_mask(like: Tensor, threshold: int) -> Tensor:
    """Bytes of `like`'s shape, each 1 with probability 1 - threshold / 2¹⁶."""
    count = like.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    # int16 counts from -2¹⁵, so the threshold is moved down by as much.
    keep = words.view(torch.int16)[:count] >= threshold - (1 << 15)
    return keep.view(torch.uint8).view(like.shape)  # bytes turn into floats three times as fast as booleans


class _WordDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, threshold: int) -> Tensor:
        keep = _keep_mask(x, threshold)
        ctx.scale = _DRAWS / (_DRAWS - threshold)  # type: ignore[attr-defined]
        ctx.save_for_backward(keep)
        return keep.to(x.dtype).mul_(x).mul_(ctx.scale)  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return keep.to(grads[0].dtype).mul_(grads[0]).mul_(ctx.scale), None  # type: ignore[attr-defined]
