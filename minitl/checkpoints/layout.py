"""Which files of a published checkpoint belong to it: repositories hold much besides, such as images."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from minitl.checkpoints.weights import INDEX, SINGLE, is_plain_name
from minitl.errors import CheckpointError

PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
MODULES = "modules.json"  # a sentence encoder's parts, some in folders of their own
COMPANIONS = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|encoder"
    r"|modules|sentence_bert_config|config_sentence_transformers)\.json|vocab\.(txt|bpe)|merges\.txt|[^/]+\.model"
)
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
PICKLE_SHARD = re.compile(r"pytorch_model-\d+-of-\d+\.bin")


def belonging(names: Iterable[str], folders: Sequence[str] = (), pickles: bool = False) -> list[str]:
    """Those of `names` (relative paths with /) that a checkpoint needs: configuration, tokenizer, weights.

    folders   sub-folders that belong to it too, as modules.json names them
    pickles   take pytorch_model.bin where there are no safetensors
    """
    chosen: list[str] = []
    for folder in ("", *folders):
        here = {path.name: name for name in names if str((path := PurePosixPath(name)).parent) == (folder or ".")}
        chosen += [name for base, name in here.items() if COMPANIONS.fullmatch(base)]
        weights = [here[SINGLE]] if SINGLE in here else [n for b, n in here.items() if b == INDEX or SHARD.fullmatch(b)]
        if not weights and pickles:
            weights = [n for b, n in here.items() if b in (PICKLE, PICKLE_INDEX) or PICKLE_SHARD.fullmatch(b)]
        chosen += weights
    return sorted(chosen)


def module_folders(folder: Path) -> list[str]:
    """The sub-folders that modules.json of `folder` names; none without that file. CheckpointError: a damaged one."""
    path = folder / MODULES
    if not path.is_file():
        return []
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        paths = [str(module["path"]) for module in modules]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected a list of modules with a path each: {error!r}") from error
    for name in paths:
        if name not in ("", ".") and not all(is_plain_name(part) for part in name.split("/")):
            raise CheckpointError(f"{path}: the path {name!r} leads out of the folder")
    return [name for name in paths if name not in ("", ".")]
