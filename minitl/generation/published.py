"""What a checkpoint's authors generate with: generation_config.json, or config.json in older files."""

from pathlib import Path
from typing import Any

from minitl.checkpoints.hub import resolve
from minitl.checkpoints.weights import read_json
from minitl.errors import ConfigError, InputError

FILE = "generation_config.json"
# Fields that mean here what they mean there, with the kinds of value that they have.
SAME: dict[str, tuple[type, ...]] = {
    "max_new_tokens": (int,),
    "num_beams": (int,),
    "do_sample": (bool,),
    "temperature": (float, int),
    "top_k": (int,),
    "top_p": (float, int),
    "repetition_penalty": (float, int),
    "length_penalty": (float, int),
    "early_stopping": (bool, str),
    "no_repeat_ngram_size": (int,),
    "min_new_tokens": (int,),
    "decoder_start_token_id": (int,),
    "forced_bos_token_id": (int,),
    "forced_eos_token_id": (int,),
}
# These count the start token, too; of a causal model they count its prompt, and so say nothing about the answer.
WITH_START = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}


def generation_options(source: str | Path, task: str | None = None, *, revision: str | None = None) -> dict[str, Any]:
    """The options that a checkpoint was published with, for `generate(model, …, **generation_options(source))`.

    source, revision   as in `load_model`
    task               one of config.json's task_specific_params, where a checkpoint serves several: "summarization",
                       "translation_en_to_de"; its options come first

    What neither generation_config.json nor config.json names is not in the result. ConfigError for a value of another
    kind, InputError for a task that config.json does not name.
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
    options: dict[str, Any] = {}
    for name, kinds in SAME.items():
        value = values.get(name)
        if value is None or (name == "decoder_start_token_id" and not answers):
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{path}: field {name!r} must be {kinds[0].__name__}, got {value!r}")
        options[name] = value
    for published, name in WITH_START.items():
        value = values.get(published)
        if answers and isinstance(value, int) and value > 1:
            options.setdefault(name, value - 1)
    if not options.get("top_k"):  # published as 0, it means none
        options.pop("top_k", None)
    return options
