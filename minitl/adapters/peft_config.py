"""adapter_config.json: which of PEFT's fields are followed, which mean nothing here, and which are refused."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minitl.adapters.config import LoraConfig
from minitl.adapters.held import Adapter
from minitl.adapters.rows import FIELD, indices
from minitl.adapters.targets import shortest_names, shortest_saved
from minitl.checkpoints.hub import full_name
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model

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
    "use_dora": "use_dora",
    "rank_pattern": "rank_pattern",
    "alpha_pattern": "alpha_pattern",
}

# Fields that say nothing of what the adapter computes, but where its base comes from: kept.
ORIGIN = ("auto_mapping", "revision")

# Others that say nothing of it, or what is known or read elsewhere: written anew.
NEUTRAL = {
    "base_model_name_or_path",
    "fan_in_fan_out",  # the key map knows
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "runtime_config",
    "task_type",
    FIELD,  # `minitl.adapters.rows` reads and writes it
}

# Fields that change what the adapter computes, in ways that are not known here. Empty values are fine.
UNSUPPORTED = {
    "alora_invocation_tokens",
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
    "target_parameters",
    "use_bdlora",
    "use_qalora",
    "velora_config",
}

# How A and B begin. Others (PiSSA, OLoRA and their like) change the base's weights too.
INITS = (True, False, None, "gaussian", "orthogonal")


def read_config(values: Mapping[str, Any], file: Path) -> tuple[LoraConfig, dict[str, Any]]:
    """The LoraConfig of a parsed adapter_config.json, and fields to keep: the base's, and unknown ones, reported.

    CheckpointError names a field that is missing, wrong, or changes the outputs in a way that is not known here.
    """
    if values.get("peft_type") != "LORA":
        raise CheckpointError(f"{file}: field 'peft_type' must be 'LORA', got {values.get('peft_type')!r}")
    missing = [field for field in ("r", "lora_alpha") if field not in values]
    if missing:
        raise CheckpointError(f"{file}: lacks the field {', '.join(map(repr, missing))}")
    refused = sorted(field for field in UNSUPPORTED if _is_given(values.get(field)))
    if values.get("init_lora_weights", True) not in INITS:
        refused.append("init_lora_weights")
    if refused:
        raise CheckpointError(
            f"{file}: not supported: {', '.join(f'{field} = {values[field]!r}' for field in refused)}"
        )
    known = {*FIELDS.values(), *NEUTRAL, *UNSUPPORTED, "init_lora_weights"}
    extra = {field: value for field, value in values.items() if field not in known}
    unknown = sorted(field for field, value in extra.items() if value and field not in ORIGIN)
    if unknown:
        log.warning("%s: unknown fields, kept but without effect: %s", file, ", ".join(unknown))
    given = {ours: values[theirs] for ours, theirs in FIELDS.items() if theirs in values}
    for name in ("rank_pattern", "alpha_pattern"):
        given[name] = given.get(name) or None
    try:
        return LoraConfig(**given), extra
    except InputError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _is_given(value: object) -> bool:
    """Whether a field says something: the number 0 does, as `layers_to_transform` a layer's, where False does not."""
    return bool(value) or (isinstance(value, int) and value is not False)


def config_values(model: Model, adapter: Adapter) -> dict[str, Any]:
    """The content of the adapter's adapter_config.json."""
    config, keys = adapter.config, model.key_map
    return {
        **adapter.extra,
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(model.task),
        "base_model_name_or_path": model.source and full_name(model.source),
        "inference_mode": True,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": shortest_names(model, adapter.places),
        "modules_to_save": shortest_saved(model, adapter.saved) or None,
        "bias": config.bias,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "rank_pattern": dict(config.rank_pattern or {}),
        "alpha_pattern": dict(config.alpha_pattern or {}),
        "fan_in_fan_out": any(keys.is_transposed(f"{path}.weight") for path in adapter.places),
        "init_lora_weights": True,
        FIELD: indices(model, adapter.own),
    }
