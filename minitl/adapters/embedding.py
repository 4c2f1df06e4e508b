"""LoRA on an embedding: looking a row up is multiplying by a one-hot vector, so the update of a row is a column of A.

    id ─┬─ row of W [rows, size] (frozen) ─────────────(+)─► vector
        └─ column of A [r, rows] ─ B [size, r] ─ · s ───┘

    vector = W[id] + s · B A[:, id]

Only the columns of A that were looked up take part. A starts at zero, B at random: PEFT's choice, and the one that lets
the first step change A alone (Hu et al. 2021 leave embeddings out; the form is that of their released code).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitl.adapters.config import LoraConfig
from minitl.nn.absolute_positions import LearnedPositions
from minitl.nn.embeddings import Embedding


class LowRankRows(nn.Module):
    """One update s · (BA)ᵀ of a table, in float32 whatever the table's type. An id has no dropout."""

    def __init__(self, config: LoraConfig, weight: Tensor) -> None:
        super().__init__()
        rows, size = weight.shape
        self.scaling = config.scaling
        self.lora_embedding_A = nn.Parameter(torch.zeros(config.r, rows, dtype=torch.float32, device=weight.device))
        self.lora_embedding_B = nn.Parameter(torch.empty(size, config.r, dtype=torch.float32, device=weight.device))
        nn.init.normal_(self.lora_embedding_B)

    def forward(self, ids: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        """W[ids] + s · A[:, ids]ᵀBᵀ in W's type: [...] -> [..., size]. The column of padding does not learn."""
        return self.rows(ids, weight, padding_idx).to(weight.dtype)

    def rows(self, ids: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        """The same in float32."""
        low = F.embedding(ids, self.lora_embedding_A.t(), padding_idx)  # [..., r]
        return F.embedding(ids, weight, padding_idx) + self.scaling * F.linear(low, self.lora_embedding_B)

    def merged(self, weight: Tensor) -> Tensor:
        """W + s · (BA)ᵀ in float32, [rows, size]."""
        return weight.float() + self.scaling * (self.lora_embedding_B.float() @ self.lora_embedding_A.float()).t()


class Adaptable(Embedding):
    """What tables with updates have: updates by name, of which the active one takes part in looking up."""

    def take_over(self, base: Embedding) -> None:
        """Use the base's own tensor, so that its name, and all that refers to it, stays as it was."""
        self.weight = base.weight
        self.adapters = nn.ModuleDict()
        self.active: str | None = None  # None = the base alone
        self.train(base.training)

    def look_up(self, ids: Tensor) -> Tensor:  # [...] -> [..., size]
        if self.active is None:
            return super().look_up(ids)
        vectors: Tensor = self.adapters[self.active](ids, self.weight, self.padding_idx)
        return vectors


class LoraEmbedding(Adaptable):
    """An `Embedding` that holds updates."""

    def __init__(self, base: Embedding) -> None:
        with torch.device("meta"):
            super().__init__(base.num_embeddings, base.embedding_dim, base.what, base.padding_idx)
        self.take_over(base)

    def plain(self) -> Embedding:
        """The table without its updates, as it was before, around the same tensor."""
        with torch.device("meta"):
            table = Embedding(self.num_embeddings, self.embedding_dim, self.what, self.padding_idx)
        table.weight = self.weight
        return table.train(self.training)


class LoraPositions(Adaptable, LearnedPositions):
    """`LearnedPositions` that hold updates."""

    def __init__(self, base: LearnedPositions) -> None:
        with torch.device("meta"):
            LearnedPositions.__init__(self, base.limit, base.embedding_dim)
        self.take_over(base)

    def plain(self) -> LearnedPositions:
        """As that of `LoraEmbedding`."""
        with torch.device("meta"):
            table = LearnedPositions(self.limit, self.embedding_dim)
        table.weight = self.weight
        return table.train(self.training)
