"""Placing adapters on a model, choosing among them, and taking them off.

An adapter is low-rank updates, one for each layer it sits on, and its own versions of some tensors of the base: the
task head, biases, modules to save. Choosing an adapter makes its updates the active ones and puts its own tensors into
the base's places; choosing none puts the base's back. The base itself is never written to.
"""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from minitl.adapters.config import LoraConfig, first_match
from minitl.adapters.held import (
    ATTRIBUTE,
    Adapter,
    Adapters,
    adapter_of,
    adapters_of,
    an_adapted_layer,
    catch_up,
    swap,
)
from minitl.adapters.kinds import Adapted, adapted, new_update, plain
from minitl.adapters.masters import compute_as_before, own_version, round_in_forward
from minitl.adapters.mixed import mix, unmix
from minitl.adapters.rows import any_rows, check_apart, grown_tables, row_names, tied_rows
from minitl.adapters.targets import (
    TASKS_WITH_OWN_HEAD,
    find_saved,
    find_targets,
    layer_name,
    listed,
    saved_candidates,
)
from minitl.errors import InputError
from minitl.models.base import Model

log = logging.getLogger("minitl")


def add_lora(model: Model, config: LoraConfig, name: str = "default") -> None:
    """Freeze `model` and place a fresh adapter on it, which becomes the active one; in place.

    Only the adapter and the head of a classification task are then trained; a language model's head stays frozen.
    Rows that learn by themselves, see `add_tokens`, do so in the adapter's own version of them. InputError: the name is
    taken, a target, a pattern or a module to save matches nothing, or is a table with such rows, or adapters are merged
    or mixed.
    """
    if not isinstance(config, LoraConfig):
        raise InputError(f"add_lora takes a LoraConfig, got {config!r}")
    check_free(model, name)
    targets = find_targets(model, config.target_modules)
    by_name = find_saved(model, config.modules_to_save or [])
    unknown = [saved for saved, paths in by_name.items() if not paths]
    if unknown:
        raise InputError(
            f"modules_to_save: no module of this {model.config.model_type} model is called "
            f"{', '.join(map(repr, unknown))}. There are: {saved_candidates(model)}"
        )
    saved = [path for paths in by_name.values() for path in paths]
    if model.task in TASKS_WITH_OWN_HEAD:
        saved += [f"head.{path}" for path, part in model.head.named_modules() if part._parameters]
    places = places_among(targets, saved)
    _check_patterns(model, config, places)
    grown = grown_tables(model)
    check_apart((*places, *saved), grown)
    if model.has_unsaved_rows and not grown and "embeddings.token" not in saved:
        log.warning(
            "the tables grew by add_tokens and no file holds their new rows: neither will this adapter's. Name the "
            "embedding in modules_to_save, or save_model the grown model first, as the adapter's base"
        )
    place(model, name, config, places, saved, rows=row_names(model, grown))


def use_adapter(model: Model, name: str | Sequence[str | None] | None) -> None:
    """Make the adapter `name` the one that acts and trains; None = the base alone.

    A list names the adapter of each row of the batches to come, None again for the base: adapters are mixed in one
    batch, every row comes out as with its adapter alone, and all that are named train. `generate` takes as many
    prompts or sources, with beams too. It holds until the next `use_adapter`.

        minitl.use_adapter(model, ["german", None, "german"])
        model(ids)  # [3, length]

    InputError: no adapter of that name, neither name nor list, an empty list, or an adapter is merged. While adapters
    are mixed: a batch with another number of rows, `forward_unpadded`, which reads them in another order, and
    `merge_lora`.
    """
    adapters = adapters_of(model)
    if adapters.merged:
        raise InputError(f"the adapter {adapters.active!r} is merged into the weights; call unmerge_lora first")
    if name is None or isinstance(name, str):
        if name is not None:
            adapter_of(model, name)
        _activate(model, adapters, name)
        return
    if isinstance(name, bytes | Mapping) or not isinstance(name, Iterable):
        raise InputError(f"use_adapter takes a name, a list of names or None, got {name!r}")
    names = list(name)
    if not names:
        raise InputError("use_adapter was given no name: a list has one for each row of the batch, None for the base")
    for one in names:
        if one is not None and any_rows(adapter_of(model, one).own):
            raise InputError(
                f"the adapter {one!r} has rows of new tokens, and such adapters are not mixed in one batch"
            )
    _activate(model, adapters, None)
    mix(model, adapters, names)


def remove_lora(model: Model) -> None:
    """Take all adapters off: plain layers, the base's tensors and what was trainable, as before the first `add_lora`.

    Where an adapter is merged, the merged weights and its own tensors stay, and the model is an ordinary one.
    """
    adapters = adapters_of(model)
    if adapters.merged:
        _round(model, adapters)
    else:
        _activate(model, adapters, None)
    for path in sorted({path for adapter in adapters.held.values() for path in adapter.places}):
        layer = model.get_submodule(path)
        assert isinstance(layer, Adapted)
        _set_module(model, path, plain(layer))
    _join(model, adapters.parted)
    for name, requires_grad in adapters.base_requires_grad.items():
        model.get_parameter(name).requires_grad_(requires_grad)
    for first, *others in model.tie_groups():
        if any(model.get_parameter(other) is not model.get_parameter(first) for other in others):
            model.config = replace(model.config, tie_word_embeddings=False)  # the adapter changed one of them alone
            break
    delattr(model, ATTRIBUTE)


def places_among(targets: Sequence[str], saved: Sequence[str]) -> list[str]:
    """Those of `targets` that get an update: all but the modules `saved`, which are trained in full (PEFT's rule).

    InputError where none is left.
    """
    places = [path for path in targets if path not in saved]
    if not places:
        raise InputError(f"{', '.join(targets)}: named in target_modules, but trained and saved in full already")
    return places


def _check_patterns(model: Model, config: LoraConfig, places: Sequence[str]) -> None:
    """InputError where a pattern of ranks or alphas matches none of the layers `places`."""
    names = [layer_name(model, path) for path in places]
    for field, patterns in (("rank_pattern", config.rank_pattern), ("alpha_pattern", config.alpha_pattern)):
        for pattern in patterns or ():
            if not any(first_match({pattern: None}, name) for name in names):
                raise InputError(
                    f"{field} {pattern!r} matches none of the adapted layers' published paths, nor the end of one "
                    f"from a dot on. There are: {listed(model, places)}"
                )


def place(
    model: Model,
    name: str,
    config: LoraConfig,
    places: Sequence[str],
    saved: Sequence[str],
    extra: Mapping[str, Any] | None = None,
    rows: Sequence[str] = (),
) -> Adapter:
    """Place a fresh adapter on the layers `places`, with its own copies of the modules `saved` and of the new `rows`,
    and activate it."""
    adapters: Adapters | None = getattr(model, ATTRIBUTE, None)
    if adapters is None:
        grads = {n: p.requires_grad for n, p in model.named_parameters(remove_duplicate=False)}
        adapters = Adapters(grads, model.get_parameter(f"{places[0]}.weight").dtype)
        setattr(model, ATTRIBUTE, adapters)
        model.requires_grad_(False)
    _activate(model, adapters, None)
    own = {n: own_version(model, n) for n in (*own_names(model, config, places, saved), *rows)}
    for path in places:
        _part(model, path, adapters.parted)
        layer = adapted(model.get_submodule(path))
        _set_module(model, path, layer)
        update = new_update(config.of_layer(layer_name(model, path)), layer)
        layer.adapters[name] = update.train(layer.training)
    adapters.held[name] = Adapter(config, list(places), list(dict.fromkeys(saved)), own, extra or {})
    _activate(model, adapters, name)
    return adapters.held[name]


def own_names(model: Model, config: LoraConfig, places: Iterable[str], saved: Iterable[str]) -> list[str]:
    """Names of the base's parameters of which the adapter has its own version."""
    names = [f"{path}.{n}" for path in saved for n, _ in model.get_submodule(path).named_parameters(recurse=False)]
    if config.bias == "all":
        names += [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    elif config.bias == "lora_only":
        names += [f"{path}.bias" for path in places if getattr(model.get_submodule(path), "bias", None) is not None]
    return list(dict.fromkeys(names))


def check_free(model: Model, name: str) -> None:
    """InputError unless an adapter may be placed under `name`."""
    if not isinstance(model, Model):
        raise InputError(f"adapters sit on the models of load_model and new_model, got a {type(model).__name__}")
    adapters: Adapters | None = getattr(model, ATTRIBUTE, None)
    # nn.Module refuses the names of what it has itself, an instance's attributes too.
    if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise InputError(
            f"{name!r} cannot be an adapter's name: it must be a word without dots, and none that nn.Module uses itself"
        )
    if adapters is not None and name in adapters.held:
        raise InputError(f"an adapter called {name!r} is placed already; choose another name, or remove_lora first")
    if adapters is not None and adapters.merged:
        raise InputError(f"the adapter {adapters.active!r} is merged into the weights; call unmerge_lora first")
    if adapters is not None and adapters.rows is not None:
        raise InputError("adapters are mixed in one batch; use_adapter chooses one, or None, before another is placed")


def _activate(model: Model, adapters: Adapters, name: str | None) -> None:
    unmix(model, adapters)
    if adapters.held:
        catch_up(model, adapters)
    for place_name, parameter in adapters.base.items():
        swap(model, place_name, parameter)
        compute_as_before(model.get_submodule(place_name.rpartition(".")[0]))
    adapters.base.clear()
    for other, adapter in adapters.held.items():
        for path in adapter.places:
            layer = model.get_submodule(path)
            assert isinstance(layer, Adapted)
            layer.adapters[other].requires_grad_(other == name)
            layer.active = name if name is not None and name in layer.adapters else None
    if name is not None:
        for own_name, parameter in adapters.held[name].own.items():
            for place_name in (own_name, *_twins(own_name, adapters.parted), *tied_rows(model, own_name)):
                adapters.base[place_name] = swap(model, place_name, parameter)
                if parameter.dtype != adapters.dtype:
                    module = model.get_submodule(place_name.rpartition(".")[0])
                    round_in_forward(module, an_adapted_layer(model, adapters))
    adapters.active = name


def _round(model: Model, adapters: Adapters) -> None:
    """Leave the adapter's own tensors in the base's places, in the base's type, as merged weights are."""
    for place_name in adapters.base:
        parameter = model.get_parameter(place_name)
        parameter.data = parameter.data.to(adapters.dtype)
        compute_as_before(model.get_submodule(place_name.rpartition(".")[0]))


def _twins(name: str, parted: Mapping[str, str]) -> list[str]:
    """Where else the parameter `name` stood before its module's two places were parted."""
    pairs = [*parted.items(), *((other, path) for path, other in parted.items())]
    return [f"{other}{name.removeprefix(path)}" for path, other in pairs if name.startswith(f"{path}.")]


def _set_module(model: Model, path: str, module: nn.Module) -> None:
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def _part(model: Model, path: str, parted: dict[str, str]) -> None:
    """Where the module that holds `path` stands in two places, as the embedding of both stacks of an encoder-decoder
    does, give this place one of its own around the same tensors: an adapter there must not act on the other's."""
    above, _, _ = path.rpartition(".")
    holder = model.get_submodule(above)
    elsewhere = [n for n, module in model.named_modules(remove_duplicate=False) if module is holder and n != above]
    if elsewhere:
        twin = copy.copy(holder)
        twin._modules = dict(holder._modules)
        _set_module(model, above, twin)
        parted[above] = elsewhere[0]


def _join(model: Model, parted: Mapping[str, str]) -> None:
    """Undo `_part`, unless what was merged tells the two places apart."""
    for path, other in parted.items():
        here, there = model.get_submodule(path), model.get_submodule(other)
        if all(a is b for a, b in zip(here.parameters(), there.parameters(), strict=True)):
            _set_module(model, path, there)
