"""Dropout as a module."""

from minitl_kernels import dropout
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each element with probability `p` while training, scale the rest by 1 / (1 - p) (Srivastava et al. 2014)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
