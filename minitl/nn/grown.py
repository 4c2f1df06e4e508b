"""Tables that grew by some rows: the old rows stay as they are, the new ones learn.

    ids ─┬─ old table (frozen) ─┐                hidden ─┬─ old rows (frozen) ─► old scores ─┐
         └─ new rows ───────────┴─► vectors              └─ new rows ──────────► new scores ─┴─► scores

The old table takes no part in differentiation. So it has no gradient, and no optimiser touches it: not with momentum,
and not with the weight decay that AdamW gives to all rows of a tensor, those of zero gradient too. A mask over the
gradient of one large table would not keep that out. And the old scores come from the very product they came from
before, bit for bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitl.nn.embeddings import Embedding


class Grown:
    """What both kinds of table have.

    weight   [old rows, size], the table as it was; frozen whoever sets its requires_grad
    new      [new rows, size]: the rows of the ids `first`, `first` + 1, …, which may take the place of old ones that no
             token had; it learns
    """

    weight: Tensor
    new: Tensor
    first: int

    def frozen(self) -> list[nn.Parameter]:
        """The parameters that take no part in differentiation."""
        own = nn.Module.named_parameters(self, recurse=False)  # type: ignore[arg-type]  # a module beside this class
        return [parameter for name, parameter in own if not name.startswith("new")]

    def stored(self, name: str) -> Tensor | None:
        """Old and new rows of the parameter `name` as one tensor, as files hold it; None for the new rows alone."""
        if name.startswith("new"):
            return None
        old, new = getattr(self, name), self.new if name == "weight" else getattr(self, f"new_{name}")
        return torch.cat((old[: self.first], new, old[self.first + len(new) :])).detach()


class GrownEmbedding(Grown, Embedding):
    """A lookup table with new rows."""

    def __init__(self, base: Embedding, first: int, new: nn.Parameter) -> None:
        rows = max(base.num_embeddings, first + len(new))
        with torch.device("meta"):
            super().__init__(rows, base.embedding_dim, base.what, base.padding_idx)
        self.weight, self.new, self.first = base.weight, new, first

    def look_up(self, ids: Tensor) -> Tensor:  # [...] -> [..., size]
        place = ids - self.first
        is_new = (place >= 0) & (place < len(self.new))
        old = F.embedding(ids.masked_fill(is_new, 0), self.weight.detach())
        return torch.where(is_new[..., None], F.embedding(place.masked_fill(~is_new, 0), self.new), old)


class GrownOutput(Grown, nn.Module):
    """An output layer with new rows, each the score of a token: [..., size] -> [..., tokens].

    No nn.Linear, so that no adapter is placed on it, which would know the old rows alone.
    """

    bias: Tensor | None

    def __init__(self, base: "nn.Linear | GrownOutput", first: int, new: nn.Parameter, new_bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias  # [old rows, size], [old rows]
        self.new, self.new_bias, self.first = new, new_bias, first

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.detach()
        old, new = F.linear(x, self.weight.detach(), bias), F.linear(x, self.new, self.new_bias)
        return torch.cat((old[..., : self.first], new, old[..., self.first + new.shape[-1] :]), dim=-1)
