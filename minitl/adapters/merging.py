"""Merging: W + s · BA as one weight, so that an adapted model costs no more than its base, and the way back. With DoRA
it is W' of its equation.

The sum is taken in float32 and rounded once. The way back is to put the base's own tensor in its place again, for
W + Δ − Δ is not W in floating point.
"""

from itertools import chain

import torch
from torch import Tensor, nn

from minitl.adapters.held import Adapter, Adapters, adapter_of, adapters_of, catch_up, swap
from minitl.adapters.kinds import Adapted
from minitl.errors import InputError
from minitl.models.base import Model


@torch.no_grad()
def merge_lora(model: Model, keep_base: bool = True) -> None:
    """Merge the active adapter into the weights, in place.

    keep_base   keep the base's weights for `unmerge_lora`; False frees their memory

    After `remove_lora` the merged model is an ordinary one and can be saved as such. An embedding that was tied to the
    output layer is then so no more: only one of them has changed. InputError, with nothing merged: no adapter is
    active or several are mixed, one is merged already, a value of the sum is not finite in the base's type, or an
    embedding was adapted that both stacks of an encoder-decoder read: each has its own update, and a checkpoint holds
    one table for both.
    """
    adapters = adapters_of(model)
    if adapters.merged:
        raise InputError(f"the adapter {adapters.active!r} is merged already")
    if adapters.rows is not None:
        raise InputError("adapters are mixed in one batch; use_adapter chooses the one to merge")
    if adapters.active is None:
        raise InputError("no adapter is active; use_adapter chooses the one to merge")
    adapter = adapter_of(model, adapters.active)
    _check_whole(adapter, adapters)
    _check_finite(model, adapter, adapters.active)  # beforehand, so that two copies of the model are never in memory
    for path in adapter.places:
        layer = _layer(model, path)
        merged = nn.Parameter(merged_weight(layer, adapters.active), requires_grad=False)
        base = swap(model, f"{path}.weight", merged)
        if keep_base:
            adapters.kept[f"{path}.weight"] = base
        layer.active = None
        layer.adapters[adapters.active].requires_grad_(False)  # it no longer acts, so it cannot learn
    adapters.merged = True


@torch.no_grad()
def unmerge_lora(model: Model) -> None:
    """Put the base's weights back, bit for bit; the adapter acts beside them again.

    InputError where nothing is merged, or the base was not kept.
    """
    adapters = adapters_of(model)
    if not adapters.merged or adapters.active is None:
        raise InputError("no adapter is merged")
    adapter = adapter_of(model, adapters.active)
    if not adapters.kept:
        raise InputError("the base's weights were freed by merge_lora(keep_base=False); load the model again")
    catch_up(model, adapters)
    for name, parameter in adapters.kept.items():
        swap(model, name, parameter)
    adapters.kept.clear()
    for path in adapter.places:
        layer = _layer(model, path)
        layer.active = adapters.active
        layer.adapters[adapters.active].requires_grad_()
    adapters.merged = False


def merged_weight(layer: Adapted, name: str) -> Tensor:
    """The weight of `layer` with the update `name`, rounded once to its own type."""
    merged: Tensor = layer.adapters[name].merged(layer.weight)  # type: ignore[operator]  # an Update's
    return merged.to(layer.weight.dtype)


def _check_whole(adapter: Adapter, adapters: Adapters) -> None:
    parted = {*adapters.parted, *adapters.parted.values()}
    apart = [path for path in adapter.places if path.rpartition(".")[0] in parted]
    if apart:
        raise InputError(
            f"the adapter {adapters.active!r} is not merged: encoder and decoder read one table of tokens, and it "
            f"changes what each reads apart ({', '.join(apart)}); no checkpoint holds two"
        )


def _check_finite(model: Model, adapter: Adapter, name: str) -> None:
    weights = ((f"{path}.weight", merged_weight(_layer(model, path), name)) for path in adapter.places)
    own = ((place, value.to(adapters_of(model).dtype)) for place, value in adapter.own.items())
    bad = [place for place, value in chain(weights, own) if not value.isfinite().all()]
    if bad:
        raise InputError(
            f"the adapter {name!r} is not merged: there are values that are not finite in {', '.join(bad)}"
        )


def _layer(model: Model, path: str) -> Adapted:
    layer = model.get_submodule(path)
    assert isinstance(layer, Adapted)
    return layer
