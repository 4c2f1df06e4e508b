"""One vector from those of all layers, by weights that a task learns (Peters et al. 2018, equation 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minitl.errors import InputError


class ScalarMix(nn.Module):
    """gamma · Σ softmax(weights)ᵢ · layerᵢ: a plain mean before training.

    layers   how many there are; each a tensor of one shape, which is also the result's. InputError: another number, or
             none
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        if not isinstance(layers, int) or layers < 1:
            raise InputError(f"layers must be an integer of at least 1, got {layers!r}")
        self.weights = nn.Parameter(torch.zeros(layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        if not isinstance(layers, (list, tuple)):
            raise InputError(f"layers must be a list of tensors, got {type(layers).__name__}; ask for hidden states")
        if len(layers) != len(self.weights):
            raise InputError(f"this mix weighs {len(self.weights)} layers, got {len(layers)}")
        shares = self.weights.softmax(0).unbind(0)
        return self.gamma * torch.stack([share * layer for share, layer in zip(shares, layers, strict=True)]).sum(0)
