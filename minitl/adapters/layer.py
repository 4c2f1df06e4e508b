"""LoRA: a frozen linear layer and a trained update of low rank (Hu et al. 2021, arXiv:2106.09685, equation 3).

    x ─┬─ W, b (frozen) ──────────────────────────(+)─► y
       └─ dropout ─ A [r, in] ─ B [out, r] ─ · s ──┘

    y = xWᵀ + b + s · dropout(x) Aᵀ Bᵀ,      s = alpha / r

W has out · in numbers, the update only r · (in + out). B starts at zero, so that the layer starts as the base was.
"""

import math

import torch
import torch.nn.functional as F
from minitl_kernels import lora_linear
from torch import Tensor, nn

from minitl.adapters.config import LoraConfig


class LowRank(nn.Module):
    """One update s · BA. A and B are float32 whatever the base: small steps must not round away."""

    def __init__(self, config: LoraConfig, weight: Tensor) -> None:
        super().__init__()
        out, inn = weight.shape
        self.scaling, self.dropout_p = config.scaling, config.dropout
        self.lora_A = nn.Parameter(torch.empty(config.r, inn, dtype=torch.float32, device=weight.device))
        self.lora_B = nn.Parameter(torch.zeros(out, config.r, dtype=torch.float32, device=weight.device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as nn.Linear begins

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """xWᵀ + b + s · dropout(x)AᵀBᵀ in x's type, or autocast's: [..., in] -> [..., out]."""
        return lora_linear(x, weight, bias, self.lora_A, self.lora_B, self.scaling, self.dropout_p, self.training)

    def merged(self, weight: Tensor) -> Tensor:
        """W + s · BA in float32, [out, in]."""
        return weight.float() + self.scaling * (self.lora_B.float() @ self.lora_A.float())


class LoraLinear(nn.Linear):
    """A linear layer that holds updates by name; with the active one it computes its output.

    It takes over the base's own tensors, so that their names, and all that refers to them, stay as they were.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.adapters = nn.ModuleDict()
        self.active: str | None = None  # None = the base alone
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:  # [..., in] -> [..., out]
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)  # one that learns is float32
        if self.active is None:
            return F.linear(x, self.weight, bias)
        y: Tensor = self.adapters[self.active](x, self.weight, bias)
        return y

    def plain(self) -> nn.Linear:
        """The layer without its updates, as it was before, around the same tensors."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear.train(self.training)
