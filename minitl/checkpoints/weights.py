"""The tensors of a checkpoint folder: one safetensors file or several behind an index, memory-mapped.

    model.safetensors                           everything in one file
    model.safetensors.index.json                or: {"weight_map": {tensor name: file name}}
    model-00001-of-00002.safetensors …          and the files it names

Nothing is read before it is asked for, except to check digests, and a tensor that is asked for is a view of the mapped
file: it costs no memory of its own until it is written to, and writing to it does not change the file.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minitl.checkpoints.atomic import make_public, staged_folder, write_json
from minitl.checkpoints.digest import check_digests, read_digests, write_digests
from minitl.checkpoints.manifest import safetensors_elsewhere
from minitl.errors import CheckpointError, MinitlError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
HASHED = (".safetensors", ".distcp")  # what SHA256SUMS is for


class Weights:
    """Tensors by published name; `[name]` gives a view of the mapped file. Two things are known without reading data:

    shapes   name -> shape
    dtypes   name -> the format's spelling of the type: "F32", "BF16", "I64"
    """

    def __init__(self, files: Mapping[Path, list[str] | None]) -> None:
        """`files`: each file and the tensor names that it must hold exactly, None = whatever it holds.

        Digests are checked where the folder has them. CheckpointError: a damaged file, or one with other tensors.
        """
        self._handles: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        check_digests(list(files))
        for path, expected in files.items():
            handle = _open(path)
            names = list(handle.keys())
            if expected is not None and set(expected) != set(names):
                raise CheckpointError(_disagreement(path, expected, names))
            for name in names:
                stored = handle.get_slice(name)
                self._handles[name] = handle
                self.shapes[name] = tuple(stored.get_shape())
                self.dtypes[name] = stored.get_dtype()

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._handles[name].get_tensor(name)
        # Files from elsewhere may have a header of any length, and with it tensors at odd addresses.
        return tensor if tensor.data_ptr() % tensor.element_size() == 0 else tensor.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes


def open_weights(folder: Path) -> Weights:
    """Open the safetensors file or files of `folder`, digests checked where there are any.

    Raises CheckpointError: no weights, a damaged or truncated file, an index that names files outside the folder,
    missing files, or tensors that are not where it says.
    """
    has_single, has_index = (folder / SINGLE).exists(), (folder / INDEX).exists()
    if (
        has_single and has_index
    ):  # other libraries take the single file; but an interrupted save may have left an old one
        digests = read_digests(folder)
        has_single = not digests or SINGLE in digests
    if has_single:
        return Weights({folder / SINGLE: None})
    if has_index:
        return Weights(_shards(folder))
    if any(folder.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{folder}: holds only pytorch_model.bin, a pickle, which can run code when read; "
            f"`minitl convert {folder} DESTINATION` turns it into {SINGLE} without running any"
            f"{safetensors_elsewhere(folder)}"
        )
    raise CheckpointError(f"{folder}: holds neither {SINGLE} nor {INDEX}")


def save_weights(tensors: Mapping[str, Tensor], folder: Path, max_shard_bytes: int) -> list[str]:
    """Write `tensors` under their published names into an existing, private folder; returns the file names written.

    One file up to `max_shard_bytes`, else shards of at most that size (a larger single tensor has one for itself).
    """
    shards = _split(tensors, max_shard_bytes)
    count = len(shards)
    names = [SINGLE] if count == 1 else [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(shard, folder / name)
    if count > 1:
        total = sum(t.numel() * t.element_size() for t in tensors.values())
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
        names.append(INDEX)
    return names


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write one safetensors file; CheckpointError, naming it, where the operating system refuses."""
    from safetensors.torch import save_file

    try:
        save_file({k: t.contiguous() for k, t in tensors.items()}, str(path), metadata={"format": "pt"})
        make_public(path)  # some versions of safetensors make private files
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error


@contextlib.contextmanager
def saving(folder: str | Path) -> Iterator[Path]:
    """A staged folder that gets digests of its weights and replaces those of an older save.

    Sub-folders with weights are treated alike, each with a SHA256SUMS of its own.
    """
    folder = Path(folder)
    with staged_folder(folder) as stage:
        yield stage
        stale: list[Path] = []
        for part in {stage, *(file.parent for kind in HASHED for file in stage.rglob(f"*{kind}"))}:
            stale += _settle_digests(part, folder / part.relative_to(stage))
    for file in stale:
        file.unlink(missing_ok=True)


def _settle_digests(staged: Path, folder: Path) -> list[Path]:
    """Write SHA256SUMS of what `staged` will make of `folder`; returns the older weights that it leaves without use."""
    new = {file.name for file in staged.iterdir()}
    stale = {file.name for file in _model_files(folder)} - new if any(_model_files(staged)) else set()
    digests = read_digests(folder)
    kept = {name: digest for name, digest in digests.items() if name not in new | stale and (folder / name).exists()}
    # SHA256SUMS is the first to move into the folder: if the machine stops before the last, the mixture is noticed.
    write_digests(staged, [name for name in new if name.endswith(HASHED)], kept)
    return [folder / name for name in stale]


def _model_files(folder: Path) -> Iterator[Path]:
    """What `save_weights` writes, whatever the number of shards."""
    for pattern in (SINGLE, INDEX, "model-*-of-*.safetensors"):
        yield from folder.glob(pattern)


def read_json(path: Path, error: type[MinitlError] = CheckpointError) -> dict[str, Any]:
    """A JSON file that must hold an object; `error` names the file and the place of a mistake."""
    value = read_json_value(path, error)
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_json_value(path: Path, error: type[MinitlError] = CheckpointError) -> Any:
    """Whatever a JSON file holds; `error` names the file and the place of a mistake."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or cause}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path}: not valid JSON: {cause}") from cause


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise CheckpointError(f"{path} ({size} bytes): not a whole safetensors file: {error}") from error


def _shards(folder: Path) -> dict[Path, list[str] | None]:
    index = folder / INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f"{index}: field 'weight_map' must map tensor names to file names")
    files: dict[Path, list[str] | None] = {}
    for tensor, name in weight_map.items():
        if not is_plain_name(name):
            raise CheckpointError(f"{index}: the file name {name!r} of {tensor!r} leads out of the folder")
        tensors = files.setdefault(folder / name, [])
        assert tensors is not None
        tensors.append(tensor)
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise CheckpointError(f"{index}: names files that are not there: {', '.join(missing)}")
    return files


def is_plain_name(name: str) -> bool:
    """Whether `name` is, on every system, a file's name: no path, no drive, neither the folder nor its parent."""
    return PurePosixPath(name).name == name == PureWindowsPath(name).name and name not in ("", ".", "..")


def _disagreement(path: Path, expected: list[str], found: list[str]) -> str:
    lacks = ", ".join(sorted(set(expected) - set(found))) or "nothing"
    extra = ", ".join(sorted(set(found) - set(expected))) or "nothing"
    return f"{path}: does not hold what {INDEX} says: lacks {lacks}; has besides {extra}"


def _split(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > max_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def dtype_name(dtype: torch.dtype) -> str:
    """config.json's spelling of a dtype: "float32", "bfloat16"."""
    return str(dtype).removeprefix("torch.")
