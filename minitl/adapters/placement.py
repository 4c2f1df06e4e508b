"""Placing adapters on a model, choosing among them, and taking them off.

An adapter is low-rank updates, one for each layer it sits on, and its own versions of some tensors of the base: the
task head, biases, modules to save. Choosing an adapter makes its updates the active ones and puts its own tensors into
the base's places; choosing none puts the base's back. The base itself is never written to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from minitl.adapters.config import LoraConfig
from minitl.adapters.layer import LoraLinear, LowRank
from minitl.adapters.targets import find_saved, find_targets, saved_candidates
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.grown import Grown

_ATTRIBUTE = "lora"
# Tasks whose head is new for the task, and so is trained and saved with the adapter.
TASKS_WITH_OWN_HEAD = ("sequence-classification", "token-classification", "question-answering")


@dataclass
class Adapter:
    """One adapter that a model holds."""

    config: LoraConfig
    places: list[str]  # paths of the layers with an update
    saved: list[str]  # paths of the modules that are trained in full
    own: dict[str, nn.Parameter]  # its versions of the base's tensors, by name: those of `saved`, and biases


@dataclass
class Adapters:
    """All that a model with adapters remembers of them and of how it was before."""

    base_requires_grad: dict[str, bool]  # by parameter name, tied ones under each
    held: dict[str, Adapter] = field(default_factory=dict)
    active: str | None = None
    base: dict[str, nn.Parameter] = field(
        default_factory=dict
    )  # the base's tensors where another stands in their place
    merged: bool = False  # whether the active one is part of the weights
    kept: dict[str, nn.Parameter] = field(default_factory=dict)  # the base's weights, for the way back from merging


def add_lora(model: Model, config: LoraConfig, name: str = "default") -> None:
    """Freeze `model` and place a fresh adapter on it, which becomes the active one; in place.

    Only the adapter and the head of a classification task are then trained; a language model's head stays frozen.
    InputError: the name is taken, a target or a module to save matches nothing, a table has grown by rows that
    learn (see `add_tokens`), or adapters are merged.
    """
    check_free(model, name)
    places = find_targets(model, config.target_modules)
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
    place(model, name, config, places, saved)


def use_adapter(model: Model, name: str | None) -> None:
    """Make the adapter `name` the one that acts and trains; None = the base alone. InputError while one is merged."""
    adapters = adapters_of(model)
    if adapters.merged:
        raise InputError(f"the adapter {adapters.active!r} is merged into the weights; call unmerge_lora first")
    if name is not None:
        adapter_of(model, name)
    _activate(model, adapters, name)


def remove_lora(model: Model) -> None:
    """Take all adapters off: plain layers, the base's tensors and what was trainable, as before the first `add_lora`.

    Where an adapter is merged, the merged weights and its own tensors stay, and the model is an ordinary one.
    """
    adapters = adapters_of(model)
    if not adapters.merged:
        _activate(model, adapters, None)
    for path in sorted({path for adapter in adapters.held.values() for path in adapter.places}):
        layer = model.get_submodule(path)
        assert isinstance(layer, LoraLinear)
        _set_module(model, path, layer.plain())
    for name, requires_grad in adapters.base_requires_grad.items():
        model.get_parameter(name).requires_grad_(requires_grad)
    for first, *others in model.tie_groups():
        if any(model.get_parameter(other) is not model.get_parameter(first) for other in others):
            model.config = replace(model.config, tie_word_embeddings=False)  # the adapter changed one of them alone
            break
    delattr(model, _ATTRIBUTE)


def place(model: Model, name: str, config: LoraConfig, places: Sequence[str], saved: Sequence[str]) -> Adapter:
    """Place a fresh adapter on the layers `places`, with its own copies of the modules `saved`, and activate it."""
    both = [path for path in places if path in saved]
    if both:
        raise InputError(f"{', '.join(both)}: named in target_modules, but trained and saved in full already")
    adapters = getattr(model, _ATTRIBUTE, None)
    if adapters is None:
        grads = {n: p.requires_grad for n, p in model.named_parameters(remove_duplicate=False)}
        adapters = Adapters(grads)
        setattr(model, _ATTRIBUTE, adapters)
        model.requires_grad_(False)
    _activate(model, adapters, None)
    own = {n: _copy(model.get_parameter(n)) for n in own_names(model, config, places, saved)}
    for path in places:
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        if not isinstance(layer, LoraLinear):
            layer = LoraLinear(layer)
            _set_module(model, path, layer)
        layer.adapters[name] = LowRank(config, layer.weight).train(layer.training)
    adapters.held[name] = Adapter(config, list(places), list(dict.fromkeys(saved)), own)
    _activate(model, adapters, name)
    return adapters.held[name]


def own_names(model: Model, config: LoraConfig, places: Iterable[str], saved: Iterable[str]) -> list[str]:
    """Names of the base's parameters of which the adapter has its own version."""
    names = [f"{path}.{n}" for path in saved for n, _ in model.get_submodule(path).named_parameters(recurse=False)]
    if config.bias == "all":
        names += [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    elif config.bias == "lora_only":
        names += [f"{path}.bias" for path in places if model.get_submodule(path).bias is not None]
    return list(dict.fromkeys(names))


def adapters_of(model: Model) -> Adapters:
    """What `model` remembers of its adapters; InputError where it has none."""
    adapters = getattr(model, _ATTRIBUTE, None)
    if adapters is None:
        raise InputError("this model has no adapter; add_lora or load_adapter places one")
    return adapters


def adapter_of(model: Model, name: str) -> Adapter:
    """The adapter `name`; InputError lists those there are."""
    held = adapters_of(model).held
    if name not in held:
        raise InputError(f"no adapter is called {name!r}; there are: {', '.join(held)}")
    return held[name]


def check_free(model: Model, name: str) -> None:
    """InputError unless an adapter may be placed under `name`."""
    adapters = getattr(model, _ATTRIBUTE, None)
    if not name or "." in name or hasattr(nn.ModuleDict, name):
        raise InputError(f"{name!r} cannot be an adapter's name: it must be a word without dots, and no method's name")
    grown = [path for path, module in model.named_modules() if isinstance(module, Grown)]
    if grown:
        raise InputError(
            f"{', '.join(grown)} grew by added tokens, whose rows an adapter's files could not hold: "
            "save_model the grown model and load that, or add_tokens(…, train_all=True) with modules_to_save"
        )
    if adapters is not None and name in adapters.held:
        raise InputError(f"an adapter called {name!r} is placed already; choose another name, or remove_lora first")
    if adapters is not None and adapters.merged:
        raise InputError(f"the adapter {adapters.active!r} is merged into the weights; call unmerge_lora first")


def swap(model: Model, name: str, parameter: nn.Parameter) -> nn.Parameter:
    """Put `parameter` into the place `name` and return what stood there. It follows the model's device and type."""
    old = model.get_parameter(name)
    if (parameter.device, parameter.dtype) != (old.device, old.dtype):
        parameter.data = parameter.data.to(old.device, old.dtype)
    module, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(module), attribute, parameter)
    return old


def _activate(model: Model, adapters: Adapters, name: str | None) -> None:
    for place_name, parameter in adapters.base.items():
        swap(model, place_name, parameter)
    adapters.base.clear()
    for other, adapter in adapters.held.items():
        for path in adapter.places:
            layer = model.get_submodule(path)
            assert isinstance(layer, LoraLinear)
            layer.adapters[other].requires_grad_(other == name)
            layer.active = name if name is not None and name in layer.adapters else None
    if name is not None:
        for place_name, parameter in adapters.held[name].own.items():
            adapters.base[place_name] = swap(model, place_name, parameter)
    adapters.active = name


def _copy(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone())


def _set_module(model: Model, path: str, module: nn.Module) -> None:
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
