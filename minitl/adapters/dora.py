"""DoRA: the size of each row of the weight learns apart from its direction (Liu et al. 2024, arXiv:2402.09353,
equation 5).

    W' = m · (W + s · BA) / ‖W + s · BA‖        row by row; m [out] starts as ‖W‖

    y = xW'ᵀ + b

The norm counts as a constant in the backward pass (section 4.3), so that no gradient has to go through it.
"""

import torch
import torch.nn.functional as F
from minitl_kernels import dropout
from torch import Tensor, nn

from minitl.adapters.config import LoraConfig
from minitl.adapters.embedding import LowRankRows
from minitl.adapters.layer import LowRank


class Dora(LowRank):
    """One update of a linear layer: a direction W + s · BA, and a magnitude, float32 whatever the base."""

    def __init__(self, config: LoraConfig, weight: Tensor) -> None:
        super().__init__(config, weight)
        self.lora_magnitude_vector = nn.Parameter(self._norms(weight))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[..., in] -> [..., out], in the type of the layer's product.

        Dropout, where there is some, acts on what differs from the base: xWᵀ + dropout(x)(W' - W)ᵀ, as PEFT has it.
        """
        factor = self.lora_magnitude_vector / self._norms(weight)  # [out]
        dropped = dropout(x, self.dropout_p, self.training)
        base = F.linear(x, weight)
        low = self.scaling * F.linear(F.linear(dropped, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype))
        y = factor * (base + low) if dropped is x else base + (factor - 1) * F.linear(dropped, weight) + factor * low
        return (y if bias is None else y + bias).to(base.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        """W' in float32, [out, in]."""
        return (self.lora_magnitude_vector.float() / self._norms(weight))[:, None] * super().merged(weight)

    def _norms(self, weight: Tensor) -> Tensor:
        return row_norms(weight, self.lora_A, self.lora_B, self.scaling)


class DoraRows(LowRankRows):
    """One update of an embedding. Its table is Wᵀ, so the norms are of columns: one for each number of a vector."""

    def __init__(self, config: LoraConfig, weight: Tensor) -> None:
        super().__init__(config, weight)
        self.lora_magnitude_vector = nn.Parameter(self._norms(weight))

    def rows(self, ids: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        return self.lora_magnitude_vector / self._norms(weight) * super().rows(ids, weight, padding_idx)

    def merged(self, weight: Tensor) -> Tensor:
        return self.lora_magnitude_vector.float() / self._norms(weight) * super().merged(weight)

    def _norms(self, weight: Tensor) -> Tensor:
        return row_norms(weight.t(), self.lora_embedding_A, self.lora_embedding_B, self.scaling)


@torch.no_grad()
def row_norms(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scaling: float) -> Tensor:
    """‖W + s · BA‖ of each row, float32 [out], for W [out, in], A [r, in], B [out, r].

    BA, as large as W, is not made: ‖W + s · BA‖² = ‖W‖² + 2s · ⟨WAᵀ, B⟩ + s² · ⟨B(AAᵀ), B⟩, row by row.
    """
    device = "cpu" if weight.is_meta else weight.device.type  # autocast knows no device without memory
    with torch.autocast(device, enabled=False):
        a, b = lora_a.float(), lora_b.float()
        base = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32).square()
        crossed = ((weight.float() @ a.t()) * b).sum(1)
        own = ((b @ (a @ a.t())) * b).sum(1)
        squares = base + 2 * scaling * crossed + scaling**2 * own
    # A row of zeros stays one: its magnitude is 0, and 0 divided by the smallest number is 0.
    return squares.clamp(min=0).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
