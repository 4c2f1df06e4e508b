"""From pytorch_model.bin, a pickle, to safetensors, without running what a pickle may hold.

`torch.load(weights_only=True)` rebuilds tensors and plain containers and refuses everything else.
"""

import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from minitl.checkpoints.digest import check_digests
from minitl.checkpoints.hub import pull
from minitl.checkpoints.layout import PICKLE, PICKLE_INDEX, belonging, module_folders
from minitl.checkpoints.weights import INDEX, SINGLE, is_plain_name, read_json, save_weights, saving
from minitl.errors import CheckpointError


def convert(
    source: str | Path, destination: str | Path, *, revision: str | None = None, max_shard_bytes: int = 5 * 10**9
) -> None:
    """Write the checkpoint `source` with its pytorch_model.bin as safetensors, configuration and tokenizer beside it.

    source        a folder with pytorch_model.bin, or shards and pytorch_model.bin.index.json; or a hub id
    destination   the folder to write; a failure leaves it as it was
    revision      branch, tag or commit on the hub

    Raises CheckpointError: no such files, one that does not match its digest in SHA256SUMS, a damaged pickle, one that
    holds code or anything but tensors by name.
    """
    folder = Path(source) if Path(source).is_dir() else pull(str(source), revision, pickles=True)
    parts = ["", *module_folders(folder)]
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    pickled = [
        part for part in parts if not _has(folder / part, SINGLE, INDEX) and _has(folder / part, PICKLE, PICKLE_INDEX)
    ]
    if not pickled:
        raise CheckpointError(f"{folder}: nothing to convert: holds no {PICKLE}, or safetensors already")
    check_digests([folder / name for name in belonging(names, parts[1:], pickles=True)])
    with saving(destination) as stage:
        for name in belonging(names, parts[1:]):
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, stage / name)
        for part in pickled:
            (stage / part).mkdir(parents=True, exist_ok=True)
            save_weights(_separate(_read(folder / part)), stage / part, max_shard_bytes)


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's pickle or pickles, mapped from the files where their format allows."""
    if _has(folder, PICKLE):
        return _load(folder / PICKLE)
    index = folder / PICKLE_INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: field 'weight_map' must map tensor names to file names")
    tensors: dict[str, Tensor] = {}
    for name in sorted({str(name) for name in weight_map.values()}):
        if not is_plain_name(name):
            raise CheckpointError(f"{index}: the file name {name!r} leads out of the folder")
        tensors.update(_load(folder / name))
    if set(tensors) != set(weight_map):
        differing = ", ".join(sorted(set(tensors) ^ set(weight_map)))
        raise CheckpointError(f"{index}: the files do not hold what it says; in one of the two only: {differing}")
    return tensors


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        # Files older than PyTorch 1.6 are no zip archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, which could be code, and is not read: {_cause(error)}"
        ) from error
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a whole PyTorch file: {_cause(error)}") from error
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: expected tensors by name, got {type(content).__name__}")
    odd = [str(k) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if odd:
        raise CheckpointError(f"{path}: expected tensors by name; no tensors are: {', '.join(odd)}")
    return dict(content)


def _cause(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor in memory of its own: safetensors has no way to say that two names share theirs."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() != tensor.numel() * tensor.element_size()
        own[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
        seen.add(storage.data_ptr())
    return own
