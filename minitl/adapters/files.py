"""Adapters on disk, in PEFT's two files, both ways.

adapter_config.json         rank, scaling, target names, task (`minitl.adapters.peft_config`)
adapter_model.safetensors   base_model.model.<published path>.lora_A.weight, ….lora_B.weight       the updates
                            ….lora_embedding_A, ….lora_embedding_B                                 … of an embedding
                            ….lora_magnitude_vector                                                … with DoRA
                            base_model.model.classifier.weight                                     saved modules
                            base_model.model.<published path>[.base_layer].bias                    trained biases
                            ….token_adapter.trainable_tokens_delta             rows of new tokens (`rows.py`)
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from minitl.adapters.config import LoraConfig
from minitl.adapters.held import Adapter, adapter_of
from minitl.adapters.kinds import new_update
from minitl.adapters.peft_config import config_values, read_config
from minitl.adapters.placement import check_free, own_names, place, places_among
from minitl.adapters.rows import KINDS as ROW_KINDS
from minitl.adapters.rows import (
    Rows,
    check_apart,
    expected_rows,
    make_room,
    of_the_embedding,
    read_rows,
    row_names,
)
from minitl.adapters.targets import TASKS_WITH_OWN_HEAD, find_saved, find_targets, known_targets, layer_name
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import Weights, read_json, saving, write_safetensors
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# An update's tensors, and what follows their names in a file.
KINDS = {
    "lora_A": ".weight",
    "lora_B": ".weight",
    "lora_embedding_A": "",
    "lora_embedding_B": "",
    "lora_magnitude_vector": "",
}

MOST_LISTED = 20  # tensors that do not fit

log = logging.getLogger("minitl")


def save_adapter(model: Model, folder: str | Path, name: str = "default") -> None:
    """Write the adapter `name` as PEFT would, digests included; a failure leaves `folder` as it was.

    InputError: no such adapter. CheckpointError: the folder cannot be written.
    """
    adapter = adapter_of(model, name)
    tensors = {}
    for ours, value in _tensors(model, name, adapter).items():
        published = _published_key(model, adapter.places, ours)
        tensors[published] = value.detach().t() if model.key_map.is_transposed(ours) else value.detach()
    with saving(folder) as stage:
        write_safetensors(tensors, stage / WEIGHTS)
        write_json(stage / CONFIG, config_values(model, adapter))


def load_adapter(model: Model, folder: str | Path, name: str = "default") -> None:
    """Place the adapter of `folder`, written here or by PEFT, on `model` under `name`, and make it the active one.

    Strict both ways: CheckpointError lists the first tensors that are missing, unexpected or mis-shaped; it is raised,
    with the model untouched, for damaged files too, and for settings that are not supported. InputError: the name is
    taken. Where the adapter has rows of new tokens, the model's tables grow by them, see `add_tokens`; they stay grown
    when the adapter is taken off.
    """
    check_free(model, name)
    folder = Path(folder)
    values = read_json(folder / CONFIG)
    config, extra = read_config(values, folder / CONFIG)
    if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise CheckpointError(f"{folder}: holds only adapter_model.bin, a pickle; save it as {WEIGHTS} with PEFT")
    weights = Weights({folder / WEIGHTS: None})
    # Names and patterns that match nothing are no mistake here: PEFT passes over them, and writes every name that a
    # head may have. That each tensor of the file has its place is checked all the same.
    saved = [path for paths in find_saved(model, config.modules_to_save or []).values() for path in paths]
    try:
        places = places_among(find_targets(model, known_targets(model, config.target_modules)), saved)
        rows = read_rows(model, values, folder / CONFIG)
        check_apart((*places, *saved), rows.tables if rows else ())
    except InputError as error:
        raise CheckpointError(f"{folder / CONFIG}: the adapter does not fit this model: {error}") from error
    sources = _match(model, config, places, saved, weights, folder / WEIGHTS, rows)
    if model.task in TASKS_WITH_OWN_HEAD and not any(path.startswith("head.") for path in saved):
        log.warning("%s: the adapter has no head; the model's own is used", folder)
    if rows:
        make_room(model, rows)
    adapter = place(model, name, config, places, saved, extra, row_names(model, rows.tables) if rows else ())
    with torch.no_grad():
        for ours, parameter in _tensors(model, name, adapter).items():
            stored = weights[sources[ours]]
            parameter.copy_(stored.t() if model.key_map.is_transposed(ours) else stored)


def _tensors(model: Model, name: str, adapter: Adapter) -> dict[str, nn.Parameter]:
    """The adapter's tensors, as "<path>.lora_A", "<path>.lora_B", …, and its versions of the base's by their names."""
    found: dict[str, nn.Parameter] = {}
    for path in adapter.places:
        for kind, parameter in model.get_submodule(f"{path}.adapters.{name}").named_parameters():
            found[f"{path}.{kind}"] = parameter
    return {**found, **adapter.own}


def _published_key(model: Model, places: Sequence[str], ours: str) -> str:
    path, _, kind = ours.rpartition(".")
    if kind in KINDS:
        return f"{PREFIX}{layer_name(model, path)}.{kind}{KINDS[kind]}"
    if kind in ROW_KINDS:
        return f"{PREFIX}{layer_name(model, path)}.{ROW_KINDS[kind]}"
    published = model.key_map.to_published(ours)
    assert published is not None  # places and saved modules were found by their published paths
    if kind == "bias" and path in places:
        published = f"{published.removesuffix('bias')}base_layer.bias"  # where PEFT's wrapper has the layer's bias
    return PREFIX + published


def _match(
    model: Model,
    config: LoraConfig,
    places: list[str],
    saved: list[str],
    weights: Weights,
    file: Path,
    rows: Rows | None,
) -> dict[str, str]:
    """Which tensor of the file fills which of ours (see `_tensors`); CheckpointError lists all that do not fit."""
    expected = {name: tuple(model.get_parameter(name).shape) for name in own_names(model, config, places, saved)}
    expected |= expected_rows(model, rows) if rows else {}
    for path in places:
        update = new_update(config.of_layer(layer_name(model, path)), model.get_submodule(path), meta=True)
        expected |= {f"{path}.{kind}": tuple(parameter.shape) for kind, parameter in update.named_parameters()}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    called = {model.key_map.to_layer(path, with_prefix=False): path for path in places}
    called |= {model.key_map.bare(layer_name(model, path)): path for path in (rows.tables if rows else ())}
    sources: dict[str, str] = {}
    problems = []
    for key, shape in weights.shapes.items():
        if not parameters.isdisjoint(_repeated(model, key)):
            continue
        ours = _our_name(model, called, key)
        ours = of_the_embedding(model, ours) if rows else ours
        if ours not in expected:
            problems += _of_the_base(model, places, ours, key, weights, rows)
            continue
        wanted = expected[ours][::-1] if model.key_map.is_transposed(ours) else expected[ours]
        if shape != wanted:
            problems.append(f"{key}: shape {list(shape)} in the file, {list(wanted)} in the model")
        elif ours in sources and not torch.equal(weights[key], weights[sources[ours]]):
            problems.append(f"{key} and {sources[ours]} are one tensor in this model, but the file's differ")
        if not weights.dtypes[key].startswith(("F", "BF")):
            problems.append(f"{key}: stored as {weights.dtypes[key]}, not as floating-point numbers")
        sources[ours] = key
    for ours in expected.keys() - sources.keys():
        wanted = expected[ours][::-1] if model.key_map.is_transposed(ours) else expected[ours]
        problems.append(f"{_published_key(model, places, ours)}: missing, shape {list(wanted)} in the model")
    if problems:
        listed = sorted(problems)[:MOST_LISTED]
        if len(problems) > len(listed):
            listed.append(f"… and {len(problems) - len(listed)} more")
        raise CheckpointError(f"{file}: the adapter does not fit this model:\n  " + "\n  ".join(listed))
    return sources


def _of_the_base(
    model: Model, places: Sequence[str], ours: str, key: str, weights: Weights, rows: Rows | None
) -> list[str]:
    """What is wrong with a tensor that is none of the adapter's.

    Nothing, where it is the base's own weight of an adapted layer: PEFT writes that of embeddings and output layers,
    of tables that grew with the rows they had before they learnt.
    """
    path, _, kind = ours.rpartition(".")
    shape = list(weights.shapes[key])
    grown = rows.first if rows and path in rows.tables else None
    if kind != "weight" or (path not in places and grown is None):
        return [f"{key}: unexpected, shape {shape}"]
    base = model.get_parameter(ours).detach()[:grown]
    stored = weights[key].to(base.device)[:grown]
    if stored.shape != base.shape:
        return [f"{key}: shape {shape} in the file, {list(base.shape)} in the model"]
    # The one may be the other rounded: a base in half precision then, one in float32 now, or the other way about.
    same = torch.equal(stored.to(base.dtype), base) or torch.equal(stored, base.to(stored.dtype))
    return [] if same else [f"{key}: the adapter was made for a base whose table has other numbers"]


def _repeated(model: Model, key: str) -> set[str | None]:
    """What a key of the file may be that writes a parameter again under the name of PEFT's wrapper; mostly nothing.

    With trained biases, PEFT writes those of a saved module three times: as themselves, and under these names.
    """
    for wrapper in (".original_module.", ".modules_to_save."):
        module, found, inside = key.removeprefix(PREFIX).partition(wrapper)
        if found:  # what is inside may begin with the adapter's name
            return {model.key_map.to_ours(f"{module}.{name}") for name in (inside, inside.partition(".")[2])}
    return set()


def _our_name(model: Model, called: dict[str | None, str], key: str) -> str:
    """A key of the file -> "<path>.lora_A", "<path>.new" or a parameter's name; the key itself if unknown.

    called   the paths of the adapted layers by their published names, without prefix
    """
    name = key.removeprefix(PREFIX).replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")
    endings = {kind: f".{kind}{ending}" for kind, ending in KINDS.items()}
    for kind, ending in (endings | {kind: f".{ending}" for kind, ending in ROW_KINDS.items()}).items():
        if name.endswith(ending):
            published = name.removesuffix(ending)
            path = called.get(model.key_map.bare(published), model.key_map.to_ours(published))
            return key if path is None else f"{path}.{kind}"
    path, _, kind = name.rpartition(".")
    if model.key_map.bare(path) in called:
        return f"{called[model.key_map.bare(path)]}.{kind}"
    return model.key_map.to_ours(name) or key
