"""Normalisation. LayerNorm is PyTorch's own; RMSNorm is written out."""

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm

__all__ = ["LayerNorm", "RMSNorm"]


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x²) + ε) · g  (Zhang & Sennrich 2019, equation 4); no mean is subtracted, no bias added.

    The mean square is taken in float32 whatever x's type: in half precision the squares would overflow.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # [..., size]
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)
