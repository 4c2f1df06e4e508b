"""Adapters on disk, in PEFT's two files, both ways.

adapter_config.json         rank, scaling, target names, task
adapter_model.safetensors   base_model.model.<published path>.lora_A.weight, ….lora_B.weight   the updates
                            base_model.model.classifier.weight                                 saved modules
                            base_model.model.<published path>[.base_layer].bias                trained biases
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minitl.adapters.config import LoraConfig
from minitl.adapters.placement import (
    TASKS_WITH_OWN_HEAD,
    Adapter,
    adapter_of,
    check_free,
    own_names,
    place,
)
from minitl.adapters.targets import find_saved, find_targets, shortest_names
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import Weights, read_json, saving, write_safetensors
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."

log = logging.getLogger("minitl")

# Our tasks as PEFT calls them; it builds the task's own model class around the adapter.
TASK_TYPES = {
    "backbone": "FEATURE_EXTRACTION",
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
}

# Fields of LoraConfig: ours and the file's.
FIELDS = {
    "r": "r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "target_modules": "target_modules",
    "modules_to_save": "modules_to_save",
    "bias": "bias",
    "use_rslora": "use_rslora",
}

# Fields that say nothing of what the adapter computes, or (fan_in_fan_out) what the key map knows.
NEUTRAL = {
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}

# Fields that change what the adapter computes, in ways that are not known here. Empty values are fine.
UNSUPPORTED = {
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
}


def save_adapter(model: Model, folder: str | Path, name: str = "default") -> None:
    """Write the adapter `name` as PEFT would, digests included; a failure leaves `folder` as it was.

    InputError: no such adapter. CheckpointError: the folder cannot be written.
    """
    adapter = adapter_of(model, name)
    tensors = {}
    for ours, value in _tensors(model, name, adapter).items():
        published = PREFIX + _published_key(model, adapter.places, ours)
        tensors[published] = value.detach().t() if model.key_map.is_transposed(ours) else value.detach()
    with saving(folder) as stage:
        write_safetensors(tensors, stage / WEIGHTS)
        write_json(stage / CONFIG, _config_values(model, adapter))


def load_adapter(model: Model, folder: str | Path, name: str = "default") -> None:
    """Place the adapter of `folder`, written here or by PEFT, on `model` under `name`, and make it the active one.

    Strict both ways: CheckpointError lists every tensor that is missing, unexpected or mis-shaped; it is raised, with
    the model untouched, for damaged files too, and for settings that are not supported. InputError: the name is taken.
    """
    check_free(model, name)
    folder = Path(folder)
    values = read_json(folder / CONFIG)
    config = _read_config(values, folder / CONFIG)
    if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise CheckpointError(f"{folder}: holds only adapter_model.bin, a pickle; save it as {WEIGHTS} with PEFT")
    weights = Weights({folder / WEIGHTS: None})
    try:
        places = find_targets(model, config.target_modules)
    except InputError as error:
        raise CheckpointError(f"{folder / CONFIG}: the adapter does not fit this model: {error}") from error
    # A name that matches nothing is no mistake here: PEFT writes every name that a head may have.
    saved = [path for paths in find_saved(model, config.modules_to_save or []).values() for path in paths]
    sources = _match(model, config, places, saved, weights, folder / WEIGHTS)
    if model.task in TASKS_WITH_OWN_HEAD and not any(path.startswith("head.") for path in saved):
        log.warning("%s: the adapter has no head; the model's own is used", folder)
    adapter = place(model, name, config, places, saved)
    with torch.no_grad():
        for ours, parameter in _tensors(model, name, adapter).items():
            stored = weights[sources[ours]]
            parameter.copy_(stored.t() if model.key_map.is_transposed(ours) else stored)


def _tensors(model: Model, name: str, adapter: Adapter) -> dict[str, nn.Parameter]:
    """The adapter's tensors, as "<path>.lora_A", "<path>.lora_B", and its own versions of the base's by their names."""
    found: dict[str, nn.Parameter] = {}
    for path in adapter.places:
        for kind in ("lora_A", "lora_B"):
            found[f"{path}.{kind}"] = model.get_parameter(f"{path}.adapters.{name}.{kind}")
    return {**found, **adapter.own}


def _published_key(model: Model, places: Sequence[str], ours: str) -> str:
    published = model.key_map.to_published(ours)
    assert published is not None  # places and saved modules were found by their published paths
    path, _, kind = ours.rpartition(".")
    if kind in ("lora_A", "lora_B"):
        return f"{published}.weight"
    if kind == "bias" and path in places:
        return f"{published.removesuffix('bias')}base_layer.bias"  # where PEFT's wrapper has the layer's bias
    return published


def _config_values(model: Model, adapter: Adapter) -> dict[str, Any]:
    config, keys = adapter.config, model.key_map
    return {
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(model.task),
        "base_model_name_or_path": model.source,
        "inference_mode": True,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": shortest_names(model, adapter.places),
        "modules_to_save": [keys.to_published(path) for path in adapter.saved] or None,
        "bias": config.bias,
        "use_rslora": config.use_rslora,
        "fan_in_fan_out": any(keys.is_transposed(f"{path}.weight") for path in adapter.places),
        "init_lora_weights": True,
    }


def _read_config(values: Mapping[str, Any], file: Path) -> LoraConfig:
    """The LoraConfig of a parsed adapter_config.json; what else it sets is neutral, refused, or reported."""
    if values.get("peft_type") != "LORA":
        raise CheckpointError(f"{file}: field 'peft_type' must be 'LORA', got {values.get('peft_type')!r}")
    missing = [field for field in ("r", "lora_alpha") if field not in values]
    if missing:
        raise CheckpointError(f"{file}: lacks the field {', '.join(map(repr, missing))}")
    refused = sorted(field for field in UNSUPPORTED if values.get(field))
    if values.get("init_lora_weights", True) not in (True, False, None, "gaussian", "orthogonal"):
        refused.append("init_lora_weights")  # PiSSA, OLoRA and their like change the base's weights too
    if refused:
        raise CheckpointError(
            f"{file}: not supported: {', '.join(f'{field} = {values[field]!r}' for field in refused)}"
        )
    known = {*FIELDS.values(), *NEUTRAL, *UNSUPPORTED, "init_lora_weights"}
    unknown = sorted(field for field, value in values.items() if field not in known and value)
    if unknown:
        log.warning("%s: unknown fields, without effect: %s", file, ", ".join(unknown))
    given = {ours: values[theirs] for ours, theirs in FIELDS.items() if theirs in values}
    try:
        return LoraConfig(**given)
    except InputError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _match(
    model: Model, config: LoraConfig, places: list[str], saved: list[str], weights: Weights, file: Path
) -> dict[str, str]:
    """Which tensor of the file fills which of ours (see `_tensors`); CheckpointError lists all that do not fit."""
    expected = {name: tuple(model.get_parameter(name).shape) for name in own_names(model, config, places, saved)}
    for path in places:
        out_features, in_features = model.get_parameter(f"{path}.weight").shape
        expected[f"{path}.lora_A"] = (config.r, in_features)
        expected[f"{path}.lora_B"] = (out_features, config.r)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    sources: dict[str, str] = {}
    problems = []
    for key, shape in weights.shapes.items():
        if _repeated(model, key) in parameters:
            continue
        ours = _our_name(model, key)
        if ours not in expected:
            problems.append(f"{key}: unexpected, shape {list(shape)}")
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
        problems.append(f"{PREFIX}{_published_key(model, places, ours)}: missing, shape {list(wanted)} in the model")
    if problems:
        listed = "\n  ".join(sorted(problems))
        raise CheckpointError(f"{file}: the adapter does not fit this model:\n  {listed}")
    return sources


def _repeated(model: Model, key: str) -> str | None:
    """The parameter that a key of the file writes again under the name of PEFT's wrapper; None where it does not.

    With trained biases, PEFT writes a saved module's bias three times: as itself, and under these names.
    """
    for wrapper in (".original_module.", ".modules_to_save."):
        if wrapper in key:
            return model.key_map.to_ours(key.removeprefix(PREFIX).replace(wrapper, "."))
    return None


def _our_name(model: Model, key: str) -> str:
    """A key of the file -> "<path>.lora_A" or a parameter's name; the key itself if unknown."""
    name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
    for kind in ("lora_A", "lora_B"):
        name = name.replace(f".{kind}.weight", f".{kind}")
    return model.key_map.to_ours(name) or key
