"""What a model remembers of its adapters, and of how it was before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from minitl.adapters.config import LoraConfig
from minitl.errors import InputError
from minitl.models.base import Model

ATTRIBUTE = "lora"


@dataclass
class Adapter:
    """One adapter that a model holds."""

    config: LoraConfig
    places: list[str]  # paths of the layers with an update
    saved: list[str]  # paths of the modules that are trained in full
    own: dict[str, nn.Parameter]  # its versions of the base's tensors, by name: those of `saved`, and biases
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of its file that mean nothing here, for saving


@dataclass
class Adapters:
    """All that a model with adapters remembers."""

    base_requires_grad: dict[str, bool]  # by parameter name, tied ones under each
    dtype: torch.dtype  # of the adapted layers' weights, when it was last looked at
    held: dict[str, Adapter] = field(default_factory=dict)
    active: str | None = None
    rows: list[str | None] | None = None  # of a mixed batch: the adapter of each row; none is the active one then
    base: dict[str, nn.Parameter] = field(
        default_factory=dict
    )  # the base's tensors where another stands in their place
    merged: bool = False  # whether the active one is part of the weights
    kept: dict[str, nn.Parameter] = field(default_factory=dict)  # the base's weights, for the way back from merging
    parted: dict[str, str] = field(default_factory=dict)  # modules that were one with another until a part was adapted


def adapters_of(model: Model) -> Adapters:
    """What `model` remembers of its adapters; InputError where it has none."""
    adapters: Adapters | None = getattr(model, ATTRIBUTE, None)
    if adapters is None:
        raise InputError("this model has no adapter; add_lora or load_adapter places one")
    return adapters


def adapter_of(model: Model, name: str) -> Adapter:
    """The adapter `name`; InputError lists those there are."""
    held = adapters_of(model).held
    if not isinstance(name, str) or name not in held:
        raise InputError(f"no adapter is called {name!r}; there are: {', '.join(held)}")
    return held[name]


def swap(model: Model, name: str, parameter: nn.Parameter) -> nn.Parameter:
    """Put `parameter` into the place `name` and return what stood there. It follows the model's device."""
    old = model.get_parameter(name)
    follow(parameter, old)
    module, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(module), attribute, parameter)
    return old


def follow(parameter: nn.Parameter, other: nn.Parameter) -> None:
    """Move `parameter`, which was out of the model, to where `other` is by now."""
    if parameter.device != other.device:
        parameter.data = parameter.data.to(other.device)


def an_adapted_layer(model: Model, adapters: Adapters) -> nn.Module:
    """One of the layers with updates, whose weight tells the base's type: it is never an adapter's own."""
    return model.get_submodule(next(iter(adapters.held.values())).places[0])


def catch_up(model: Model, adapters: Adapters) -> None:
    """Convert what is out of the model as the model has been since: `model.half()` reaches only what is in it."""
    weight = an_adapted_layer(model, adapters).weight
    assert isinstance(weight, Tensor)
    if weight.dtype == adapters.dtype:
        return
    adapters.dtype = weight.dtype
    owns = (adapter.own.values() for name, adapter in adapters.held.items() if name != adapters.active)
    for parameter in chain(adapters.base.values(), adapters.kept.values(), *owns):
        parameter.data = parameter.data.to(weight.dtype)
