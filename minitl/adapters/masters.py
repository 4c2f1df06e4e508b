"""Float32 parameters over a half-precision base: what learns keeps the small steps that its module's type would lose.

    master, float32 ─ round ─► the module's own type ─► forward
           ▲──────────────────── gradient, float32 ──────┘

A and B of an update are such parameters by themselves. This is for an adapter's own versions of the base's tensors:
task heads, biases, modules to save. Tables that are not looked up but read as a whole keep the base's type.
"""

import copy
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from minitl.adapters.kinds import Adapted
from minitl.models.base import Model
from minitl.nn.embeddings import Embedding


def own_version(model: Model, name: str) -> nn.Parameter:
    """A copy of the base's parameter `name` that learns; float32 where the base's type is a half-precision one."""
    parameter = model.get_parameter(name).detach()
    module = model.get_submodule(name.rpartition(".")[0])
    read_as_a_whole = isinstance(module, nn.Embedding) and not isinstance(module, Embedding)
    if parameter.dtype.itemsize < 4 and not read_as_a_whole:
        return nn.Parameter(parameter.float())
    return nn.Parameter(parameter.clone())


def twin_of(module: nn.Module) -> nn.Module:
    """A copy of `module` around the same tensors and parts. Hooks act on the module, and so not on its twin again."""
    twin = copy.copy(module)
    twin.__dict__.update({name: value for name, value in nn.Module().__dict__.items() if "hook" in name})
    return twin


class Rounded:
    """The forward of a module while one of its parameters is a master: with masters rounded to the type of `base`."""

    def __init__(self, module: nn.Module, base: nn.Module) -> None:
        self.twin, self.base = twin_of(module), base
        self.twin.__dict__["_parameters"] = module._parameters  # the same, whatever is swapped there

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        weight = self.base.weight
        assert isinstance(weight, Tensor)
        parameters = self.twin._parameters.items()
        rounded = {name: p.to(weight.dtype) for name, p in parameters if p is not None and p.dtype != weight.dtype}
        return functional_call(self.twin, rounded, args, kwargs)


def round_in_forward(module: nn.Module, base: nn.Module) -> None:
    """Let `module` compute in the type of the layer `base`; a layer with updates does so by itself."""
    if not isinstance(module, Adapted):
        module.__dict__["forward"] = Rounded(module, base)


def compute_as_before(module: nn.Module) -> None:
    """Undo `round_in_forward`."""
    if isinstance(module.__dict__.get("forward"), Rounded):
        del module.__dict__["forward"]
