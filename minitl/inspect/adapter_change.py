"""How much an adapter changed each of its layers, and in how many directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.adapters.held import adapter_of, adapters_of
from minitl.adapters.kinds import Adapted
from minitl.errors import InputError
from minitl.models.base import Model


@dataclass(frozen=True)
class AdapterChange:
    """Of one layer, ΔW being what the adapter adds to its weight W.

    path               of the layer: "layers.3.attention.query"
    norm               ‖ΔW‖, Frobenius
    relative           ‖ΔW‖ / ‖W‖
    singular_values    of ΔW, the largest first, as many as the adapter's rank: all that there are, but for DoRA, which
                       scales each row of W too
    """

    path: str
    norm: float
    relative: float
    singular_values: tuple[float, ...]

    @property
    def effective_rank(self) -> float:
        """In how many directions the change goes: exp of the entropy of the singular values' shares (Roy & Vetterli
        2007); 0 where nothing changed."""
        values = torch.tensor(self.singular_values, dtype=torch.float64)
        if not values.sum() > 0:
            return 0.0
        shares = values / values.sum()
        return float(torch.exp(-torch.xlogy(shares, shares).sum()))


@torch.no_grad()
def adapter_changes(model: Model, name: str | None = None) -> list[AdapterChange]:
    """The changes of the adapter `name`, layer by layer; None = the active one.

    InputError: no adapter, none of that name, or it is merged: W is no longer known apart.
    """
    adapters = adapters_of(model)
    if adapters.merged:
        raise InputError("the adapter is merged into the weights: unmerge_lora tells them apart again")
    chosen = adapters.active if name is None else name
    if chosen is None:
        raise InputError("no adapter is active: name one")
    return [_change(model, path, chosen) for path in adapter_of(model, chosen).places]


def _change(model: Model, path: str, name: str) -> AdapterChange:
    layer = model.get_submodule(path)
    assert isinstance(layer, Adapted)
    weight = layer.weight.float()
    update = layer.adapters[name]
    delta: Tensor = update.merged(layer.weight) - weight  # type: ignore[operator]  # an Update's
    rank = min(min(parameter.shape) for parameter in update.parameters() if parameter.dim() == 2)
    # One side may be a vocabulary: what is left of it after QR has the same singular values, and is small.
    values = torch.linalg.svdvals(torch.linalg.qr(delta if delta.shape[0] >= delta.shape[1] else delta.T).R)
    norm = float(torch.linalg.vector_norm(delta))
    return AdapterChange(path, norm, norm / float(torch.linalg.vector_norm(weight)), tuple(values[:rank].tolist()))
