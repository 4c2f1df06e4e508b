"""Adapters mixed in one batch: each row is computed with the adapter that was named for it.

    x [rows, …] ─┬─ rows of "a" ─ the layer with a's update and a's own tensors ─┬─► y [rows, …]
                 ├─ rows of "b" ─ the layer with b's                             │
                 └─ rows of None ─ the layer as the base has it ─────────────────┘

Only layers in which the adapters differ are parted so; all others, and attention, see the batch as a whole. Each row
comes out as its adapter alone would have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from minitl_kernels import lora_linear_multi
from torch import Tensor, nn

from minitl.adapters.held import Adapters, an_adapted_layer, follow
from minitl.adapters.kinds import Adapted
from minitl.adapters.layer import LoraLinear, LowRank
from minitl.adapters.masters import round_in_forward, twin_of
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.embeddings import Embedding

CHILD = "mixed"  # under which name a layer holds its `Parted`


@dataclass
class Reading:
    """What a model is reading.

    names           the adapter of each text
    continuations   rows for each text that are next to each other, as beams have
    """

    names: Sequence[str | None]
    continuations: int = 1


class Parted(nn.Module):
    """The forward of one layer while adapters are mixed: which rows are whose."""

    def __init__(self, path: str, reading: Reading) -> None:
        super().__init__()
        self.distinct = list(dict.fromkeys(reading.names))
        self.reads_sources = path.startswith("encoder.")
        self.reading = reading
        self.which = [self.distinct.index(name) for name in reading.names]  # of `distinct`, for each text

    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [rows, …], also where it came as [1, …], the same for all; and each row's place in `distinct`, [rows]."""
        texts = len(self.which)
        if len(x) == 1:
            x = x.expand(texts * (1 if self.reads_sources else self.reading.continuations), *x.shape[1:])
        return x, torch.tensor(self.which, device=x.device).repeat_interleave(len(x) // texts)


class Routed(Parted):
    """A linear layer whose adapters have nothing but updates of low rank: one operation, the base's product once."""

    layer: LoraLinear

    def __init__(self, layer: LoraLinear, path: str, reading: Reading) -> None:
        super().__init__(path, reading)
        self.__dict__["layer"] = layer  # not as a child: the layer holds this
        here = [name for name in self.distinct if name is not None and name in layer.adapters]
        self.updates = [u for name in here if isinstance(u := layer.adapters[name], LowRank)]
        self.ids = [here.index(name) if name in here else -1 for name in self.distinct]

    def forward(self, x: Tensor) -> Tensor:
        """[rows, …, in] -> [rows, …, out]."""
        x, which = self.rows(x)
        ids = torch.tensor(self.ids, device=x.device)[which]
        lora_as, lora_bs = [u.lora_A for u in self.updates], [u.lora_B for u in self.updates]
        scalings, ps = [u.scaling for u in self.updates], [u.dropout_p for u in self.updates]
        layer = self.layer
        return lora_linear_multi(x, layer.weight, layer.bias, lora_as, lora_bs, scalings, ids, ps, self.training)


class RowWise(Parted):
    """Any other layer, adapter by adapter: its twins share all tensors with it but what an adapter has of its own."""

    def __init__(self, layer: nn.Module, path: str, adapters: Adapters, reading: Reading, base: nn.Module) -> None:
        super().__init__(path, reading)
        self.twins = nn.ModuleList(_twin(layer, path, adapters, name, base) for name in self.distinct)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, …] -> [rows, …]."""
        x, which = self.rows(x)
        order = which.argsort(stable=True)  # rows of one adapter next to each other
        groups = x[order].split(which.bincount(minlength=len(self.twins)).tolist())
        parts = [twin(rows) for twin, rows in zip(self.twins, groups, strict=True)]
        return torch.cat(parts)[order.argsort()]


def _parted(layer: nn.Module, path: str, adapters: Adapters, reading: Reading, base: nn.Module) -> Parted:
    chosen = [adapters.held[name] for name in reading.names if name is not None]
    own = any(name.rpartition(".")[0] == path for adapter in chosen for name in adapter.own)
    if isinstance(layer, LoraLinear) and not own:
        updates = [layer.adapters[name] for name in reading.names if name is not None and name in layer.adapters]
        if all(type(update) is LowRank for update in updates):
            return Routed(layer, path, reading)
    return RowWise(layer, path, adapters, reading, base)


def mix(model: Model, adapters: Adapters, names: Sequence[str | None]) -> None:
    """Part the layers of `model`, on which no adapter acts, by the rows' adapters `names`."""
    reading, base = Reading(list(names)), an_adapted_layer(model, adapters)
    chosen = {name: adapters.held[name] for name in names if name is not None}
    paths = [path for adapter in chosen.values() for path in adapter.places]
    paths += [name.rpartition(".")[0] for adapter in chosen.values() for name in adapter.own]
    for path in dict.fromkeys(paths):
        layer = model.get_submodule(path)
        if isinstance(layer, nn.Embedding) and not isinstance(layer, Embedding):
            raise InputError(f"{path} is read as a whole, not row by row: adapters that have their own cannot be mixed")
        rows = _parted(layer, path, adapters, reading, base)
        layer.add_module(CHILD, rows.train(layer.training))
        layer.__dict__["forward"] = rows
    for path in dict.fromkeys(path for adapter in chosen.values() for path in adapter.places):
        for name, update in _updates(model.get_submodule(path)).items():
            update.requires_grad_(name in chosen)
    model.__dict__["encode"] = _CheckedRows(model, reading)
    model.rows_are_named = True
    adapters.rows = list(names)


def unmix(model: Model, adapters: Adapters) -> None:
    """Make whole what `mix` parted."""
    if adapters.rows is None:
        return
    for layer in list(model.modules()):
        if isinstance(layer._modules.get(CHILD), Parted):
            del layer._modules[CHILD], layer.__dict__["forward"]
    del model.__dict__["encode"]
    model.rows_are_named = False
    adapters.rows = None


class _CheckedRows:
    """A model's `encode` that takes as many texts as adapters were named, and says how many rows each has."""

    def __init__(self, model: Model, reading: Reading) -> None:
        self.model, self.reading = model, reading

    def __call__(self, input_ids: Tensor, *args: Any, **inputs: Any) -> Any:
        texts, rows, cache = len(self.reading.names), len(input_ids), inputs.get("cache")
        target = inputs.get("decoder_input_ids")
        goes_on = target is None and cache is not None and cache.length > 0  # a decoder's beams, after the prompt
        if rows != texts and not (goes_on and rows % texts == 0):
            raise InputError(f"the batch has {rows} rows, but use_adapter was given the adapters of {texts}")
        self.reading.continuations = (rows if target is None else len(target)) // texts
        return type(self.model).encode(self.model, input_ids, *args, **inputs)


def _twin(layer: nn.Module, path: str, adapters: Adapters, name: str | None, base: nn.Module) -> nn.Module:
    """`layer` as the adapter `name` has it, around the same tensors; `base` is an adapted layer."""
    twin = twin_of(layer)
    twin._parameters, twin._modules = dict(layer._parameters), dict(layer._modules)
    if isinstance(twin, Adapted):
        twin.active = name if name is not None and name in twin.adapters else None
    own = {} if name is None else adapters.held[name].own
    for attribute, parameter in layer.named_parameters(recurse=False):
        if f"{path}.{attribute}" in own:
            follow(own[f"{path}.{attribute}"], parameter)
            twin._parameters[attribute] = own[f"{path}.{attribute}"]
            if own[f"{path}.{attribute}"].dtype != adapters.dtype:
                round_in_forward(twin, base)
    return twin


def _updates(layer: nn.Module) -> nn.ModuleDict:
    assert isinstance(layer, Adapted)
    return layer.adapters
