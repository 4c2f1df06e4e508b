"""From the names a person writes, or a file of PEFT holds, to modules of the model.

A name stands for every module whose path ends with it, first among the published paths, then among this library's:

    "query"            bert.encoder.layer.0.attention.self.query, …
    "attention.query"  layers.0.attention.query, …
"""

import re
from collections.abc import Iterable, Sequence

from torch import nn

from minitl.adapters.kinds import can_be_adapted
from minitl.adapters.mixed import CHILD
from minitl.errors import InputError
from minitl.models.base import Model

ALL_LINEAR = "all-linear"
FUSED = "qkv"  # the uniform name of a projection that holds query, key and value
_PARTS_OF_FUSED = {"query", "key", "value", "q_proj", "k_proj", "v_proj", "q", "k", "v"}
# Tasks whose head is new for the task, and so is trained and saved with the adapter.
TASKS_WITH_OWN_HEAD = ("sequence-classification", "token-classification", "question-answering")


def find_targets(model: Model, targets: Sequence[str] | str | None) -> list[str]:
    """The paths, in the model's order, of the layers that `targets` (see LoraConfig) names.

    Raises InputError where a name or the expression matches no linear layer or embedding, listing those there are.
    """
    layers = adaptable_layers(model)
    if targets is None:
        return [path for path in layers if path.rpartition(".")[2] in ("query", "value", FUSED)]
    if targets == ALL_LINEAR:
        return all_linear(model)
    if isinstance(targets, str):
        found = _matching(model, targets, layers)
        unknown = [] if found else [targets]
    else:
        by_name = {name: _ending_with(model, name, layers) for name in targets}
        found = {path for paths in by_name.values() for path in paths}
        unknown = [name for name, paths in by_name.items() if not paths]
    if unknown or not found:
        raise InputError(_unknown_targets(model, targets, unknown, layers))
    return [path for path in layers if path in found]


def known_targets(model: Model, targets: Sequence[str] | str | None) -> Sequence[str] | str | None:
    """Of a list of names those that are published ones here, if there are any; else `targets` as they are."""
    if targets is None or isinstance(targets, str):
        return targets
    layers = adaptable_layers(model)
    return [name for name in targets if _published_ending_with(model, name, layers)] or targets


def all_linear(model: Model) -> list[str]:
    """Every linear layer but the output layer, which is or could be tied to the embedding, and a task's own head."""
    outputs = {name.rpartition(".")[0] for group in model.key_map.ties for name in group}
    own_head = "head." if model.task in TASKS_WITH_OWN_HEAD else None
    return [
        path
        for path in adaptable_layers(model)
        if isinstance(model.get_submodule(path), nn.Linear)
        and path not in outputs
        and not (own_head and path.startswith(own_head))
    ]


def find_saved(model: Model, names: Sequence[str]) -> dict[str, list[str]]:
    """For each of `names` the paths of the modules with parameters of their own at or below a module of that name.

    As in PEFT, the published path of the named module need only end with the name's letters.
    """
    modules = _with_parameters(model)
    found: dict[str, list[str]] = {}
    for name in names:
        published = [p for p in modules if any(above.endswith(name) for above in _ancestors(_published(model, p)))]
        found[name] = published or [p for p in modules if any(_ends(above, name) for above in _ancestors(p))]
    return found


def saved_candidates(model: Model) -> str:
    """The names that `find_saved` knows, once for all layers, to be listed in an error."""
    paths = _with_parameters(model)
    return _listed((_published(model, path), path) for path in paths)


def layer_name(model: Model, path: str) -> str:
    """The published path of a layer, as PEFT knows it."""
    return model.key_map.to_layer(path) or path


def shortest_names(model: Model, paths: Sequence[str]) -> list[str]:
    """Short published names that together stand for exactly the layers `paths`, for PEFT's `target_modules`."""
    published = {path: layer_name(model, path) for path in adaptable_layers(model)}
    others = [name for path, name in published.items() if path not in paths]
    return sorted({_shortest_ending(published[path], others) for path in paths})


def shortest_saved(model: Model, paths: Sequence[str]) -> list[str]:
    """Published names that together stand for exactly the modules `paths`, whole containers where all of them is there.

    PEFT wraps a head as a whole, and would wrap its parts again if they were named.
    """
    others = [_published(model, path) for path in _with_parameters(model) if path not in paths]
    names = []
    for path in paths:
        free = [a for a in _ancestors(_published(model, path)) if not any(o.startswith(f"{a}.") for o in others)]
        names.append(free[-1])
    return list(dict.fromkeys(names))


def _shortest_ending(path: str, others: Sequence[str]) -> str:
    """The fewest last parts of `path` with which none of `others` ends."""
    endings = [ending for ending in reversed(_endings(path)) if not any(_ends(other, ending) for other in others)]
    return endings[0]


def adaptable_layers(model: Model) -> list[str]:
    """The paths of the layers that can be adapted and have a published name, head included, in the model's order."""
    return [
        path
        for path, module in model.named_modules(remove_duplicate=False)
        if can_be_adapted(module) and model.key_map.to_published(path) is not None and not _is_inside(path)
    ]


def _with_parameters(model: Model) -> list[str]:
    """The paths of the modules that have parameters of their own."""
    return [
        path
        for path, module in model.named_modules()
        if module._parameters and any(p is not None for p in module._parameters.values()) and not _is_inside(path)
    ]


def _is_inside(path: str) -> bool:
    """Whether `path` is that of a part of an adapter."""
    return ".adapters." in path or f".{CHILD}." in path


def _published(model: Model, path: str) -> str:
    return model.key_map.to_published(path) or path


def _matching(model: Model, expression: str, paths: Iterable[str]) -> set[str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise InputError(f"target_modules {expression!r} is not a regular expression: {error}") from error
    return {path for path in paths if pattern.fullmatch(layer_name(model, path))}


def _ending_with(model: Model, name: str, paths: Sequence[str]) -> list[str]:
    return _published_ending_with(model, name, paths) or [path for path in paths if _ends(path, name)]


def _published_ending_with(model: Model, name: str, paths: Sequence[str]) -> list[str]:
    # With the prefix, also for a backbone, so that names from a model with a head fit here too.
    return [path for path in paths if _ends(model.key_map.to_layer(path, with_prefix=True) or path, name)]


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _ancestors(path: str) -> list[str]:
    """`path` and the paths of the modules that it lies in."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _endings(path: str) -> list[str]:
    """`path` and what is left of it without its first parts."""
    parts = path.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _unknown_targets(model: Model, targets: Sequence[str] | str, unknown: Sequence[str], layers: Sequence[str]) -> str:
    kind = model.config.model_type
    if isinstance(targets, str):
        problem = f"target_modules {targets!r}, a regular expression, matches no whole path of a layer"
        problem += f" such as {layer_name(model, layers[0])}; single names go in a list"
    elif not unknown:
        problem = "target_modules names nothing"
    else:
        problem = f"no linear layer or embedding of this {kind} model is called {', '.join(map(repr, unknown))}"
        fused = next((path for path in layers if _ends(path, FUSED)), None)
        if fused is not None and _PARTS_OF_FUSED.intersection(unknown):
            own = layer_name(model, fused).rpartition(".")[2]
            problem += f": it holds query, key and value in one projection, called {own!r}"
    return f"{problem}. There are: {listed(model, layers)}; or {ALL_LINEAR!r}"


def listed(model: Model, paths: Iterable[str]) -> str:
    """published name (uniform name), …, without what comes before the layer's number, each once."""
    return _listed((layer_name(model, path), path) for path in paths)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    names = [tuple(re.sub(r"^.*\.\d+\.", "", name) for name in pair) for pair in pairs]
    return ", ".join(ours if ours == theirs else f"{theirs} ({ours})" for theirs, ours in dict.fromkeys(names))
