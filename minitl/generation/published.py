"""What a checkpoint's authors generate with: generation_config.json, or config.json in older files."""

import logging
from pathlib import Path
from typing import Any

from minitl.checkpoints.hub import resolve
from minitl.checkpoints.weights import read_json
from minitl.errors import ConfigError, InputError
from minitl.models.config import describe, fits

FILE = "generation_config.json"
# Fields that mean here what they mean there, with the kinds of value that they have.
SAME: dict[str, Any] = {
    "max_new_tokens": int,
    "num_beams": int,
    "repetition_penalty": float,
    "length_penalty": float,
    "early_stopping": bool | str,
    "no_repeat_ngram_size": int,
    "min_new_tokens": int,
    "decoder_start_token_id": int,
    "forced_bos_token_id": int,
    "forced_eos_token_id": int,
    "eos_token_id": int | list[int],
}
DRAWING: dict[str, Any] = {"temperature": float, "top_k": int, "top_p": float}  # where do_sample says so
# These count the start token, too; of a causal model they count its prompt, and so say nothing about the answer.
WITH_START = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
# Fields that would change the text and have no counterpart here, with the value that changes nothing.
UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "min_p", "penalty_alpha"), None),
    **dict.fromkeys(("exponential_decay_length_penalty", "guidance_scale", "sequence_bias", "force_words_ids"), None),
    **dict.fromkeys(("typical_p", "encoder_repetition_penalty"), 1.0),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "diversity_penalty"), 0.0),
    "encoder_no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
}

log = logging.getLogger("minitl")


def generation_options(source: str | Path, task: str | None = None, *, revision: str | None = None) -> dict[str, Any]:
    """The options that a checkpoint was published with, for `generate(model, …, **generation_options(source))`.

    source, revision   as in `load_model`
    task               one of config.json's task_specific_params, where a checkpoint serves several: "summarization",
                       "translation_en_to_de"; its options come first

    What neither generation_config.json nor config.json names is not in the result, and how tokens are drawn only where
    they are (do_sample). Fields that would change the text and are not known here are named in a warning on the
    "minitl" logger. ConfigError for a value of another kind, InputError for a task that config.json does not name.
    """
    folder = resolve(source, revision=revision)
    path = folder / FILE if (folder / FILE).is_file() else folder / "config.json"
    values, config = read_json(path), read_json(folder / "config.json")
    if task is not None:
        tasks = config.get("task_specific_params") or {}
        if task not in tasks:
            raise InputError(f"{folder / 'config.json'}: no task_specific_params {task!r}; has: {', '.join(tasks)}")
        values = {**values, **tasks[task]}
    answers = bool(config.get("is_encoder_decoder"))
    kinds = SAME | (DRAWING if values.get("do_sample") is True else {})
    options = {name: _read(path, values, name, kind) for name, kind in kinds.items()}
    lengths = {name: _read(path, values, published, int) for published, name in WITH_START.items()}
    if answers:
        for name, length in lengths.items():
            if length is not None and length > 1 and options[name] is None:
                options[name] = length - 1
    else:
        options["decoder_start_token_id"] = None
    options = {name: value for name, value in options.items() if value is not None}
    if kinds.keys() >= DRAWING.keys():
        options["do_sample"] = True
    if options.get("top_k") == 0:  # published so, it means none
        del options["top_k"]
    if "min_new_tokens" in options and "max_new_tokens" in options:
        options["min_new_tokens"] = min(options["min_new_tokens"], options["max_new_tokens"])
    left_out = [name for name, neutral in UNKNOWN.items() if values.get(name, neutral) not in (neutral, None, [])]
    if left_out:
        log.warning("%s: not known here and left out: %s", path, ", ".join(left_out))
    return options


def _read(path: Path, values: dict[str, Any], name: str, kind: Any) -> Any:
    """A field, or None; ConfigError where it is of another kind."""
    value = values.get(name)
    if value is None:
        return None
    wanted = 'true, false or "never"' if name == "early_stopping" else describe(kind)
    if not fits(value, kind) or (name == "early_stopping" and value not in (True, False, "never")):
        raise ConfigError(f"{path}: field {name!r} must be {wanted}, got {value!r}")
    return value
