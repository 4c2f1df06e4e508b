"""Which files of a published checkpoint belong to it: repositories hold much besides, such as images."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from minitl.checkpoints.weights import INDEX, SINGLE, is_plain_name, read_json_value
from minitl.errors import CheckpointError

PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
MODULES = "modules.json"  # a sentence encoder's parts, some in folders of their own
COMPANIONS = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|encoder"
    r"|modules|sentence_[^/]*_config|config_sentence_transformers)\.json|vocab\.(txt|bpe)|merges\.txt|[^/]+\.model"
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
    return [path for _, path in read_modules(folder) if path] if (folder / MODULES).is_file() else []


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """The type and the path of each module, in their order, as modules.json has them; the folder itself is "".

        [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}, …]

    CheckpointError: no such file, a damaged one, or a path that leads out of the folder.
    """
    file = folder / MODULES
    entries = read_json_value(file)
    fields = {"idx": int, "path": str, "type": str}
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(type(entry.get(name)) is kind for name, kind in fields.items())
        for entry in entries
    ):
        raise CheckpointError(f"{file}: expected a JSON list of modules with idx, path and type")
    modules = []
    for entry in sorted(entries, key=lambda entry: entry["idx"]):
        parts = PurePosixPath(entry["path"]).parts  # none for "" and "."
        if not all(map(is_plain_name, parts)):
            raise CheckpointError(f"{file}: the path {entry['path']!r} of a module leads out of the folder")
        modules.append((entry["type"], "/".join(parts)))
    return modules
