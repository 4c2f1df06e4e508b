"""Streams of files, folders of files, and sets on the hub, and the splits beside them that are in memory."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minitl.data.examples import Dataset
from minitl.data.finding import SPLIT_NAMES, find_files
from minitl.data.hub import hub_set
from minitl.data.stream import Rows, Stream, reason_of, tables
from minitl.data.tables import Table
from minitl.errors import DataError

BUILDERS = {".jsonl": "json", ".parquet": "parquet", ".txt": "text"}  # the library's names for kinds of files
PARAGRAPH = "paragraph"  # the only column of a text file, whose rows reach to the next blank line
PACKED = (".gz", ".xz")

E = TypeVar("E")


def load_stream(
    name: str | Path,
    examples_of: Callable[[Table], list[E]],
    portion: int,
    validation_fraction: float,
    declared: Mapping[str, Mapping[str, str]],
) -> Dataset[E]:
    """The set `name` with a `Stream` to learn from; its other splits are in memory.

    name                 a .jsonl, .parquet or .txt file, also .gz or .xz; a folder with such files whose names begin
                         with train (any number), validation and test; a set of MINITL_ASSETS; or an id on the hub
    portion              rows that are read at a time
    validation_fraction  of a portion: so many rows, the very first, are validation where there is no such split
    declared             the sets of MINITL_ASSETS by name, as for `find_files`

    DataError: nothing is found, or what is found cannot be read.
    """
    splits = _find(str(name), declared)
    if "train" not in splits:
        raise DataError(f"{name}: has no training split")
    held = {split: _all(rows, examples_of) for split, rows in splits.items() if split != "train"}
    skipped = 0 if "validation" in held else round(validation_fraction * portion)
    stream = Stream(splits["train"], examples_of, portion, skipped)
    if skipped:
        first = tables(splits["train"].make().take(skipped), skipped, splits["train"].origin, 0)
        held["validation"] = [example for table in first for example in examples_of(table)]
    origin = splits["train"].origin
    return Dataset(str(name), origin, [], held.get("validation", []), held.get("test", []), None, stream)


def _all(rows: Rows, examples_of: Callable[[Table], list[E]]) -> list[E]:
    return [example for table in tables(rows.make(), 10_000, rows.origin, 0) for example in examples_of(table)]


def _find(name: str, declared: Mapping[str, Mapping[str, str]]) -> dict[str, Rows]:
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return {"train": _of_files([path])}
    if name in declared:
        files, _ = find_files(name, declared, list(BUILDERS), "data set")
        return {split: _of_files([file]) for split, file in files.items()}
    on_hub = hub_set(name)
    if on_hub is None or kind_of(path) is not None:
        raise DataError(f"{name}: no such file or folder")
    return {"train": _on_hub(on_hub.id, on_hub.config)}


def _in_folder(folder: Path) -> dict[str, Rows]:
    present = sorted(path for path in folder.iterdir() if kind_of(path) is not None)
    found = {split: [path for path in present if path.name.startswith(names)] for split, names in SPLIT_NAMES.items()}
    if not any(found.values()):
        endings = ", ".join(BUILDERS)
        raise DataError(f"{folder}: no file in this folder whose name begins with train and ends with one of {endings}")
    return {split: _of_files(files) for split, files in found.items() if files}


def kind_of(path: Path) -> str | None:
    """What the library calls the kind of a file, by its name; None for others."""
    stem = path.with_suffix("") if path.suffix in PACKED else path
    return BUILDERS.get(stem.suffix)


def _of_files(files: Sequence[Path]) -> Rows:
    kinds = {kind_of(path) for path in files}
    kind = kinds.pop()
    if kinds or kind is None:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{files[0].parent}: a stream is read of files of one kind ({', '.join(BUILDERS)}): {names}")
    try:
        facts = [(path.name, path.stat().st_size) for path in files]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    origin = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"
    paths = [str(path.resolve()) for path in files]

    def make() -> Any:
        options = {"sample_by": "paragraph"} if kind == "text" else {}
        rows = _opened(origin, kind, data_files={"train": paths}, **options)
        return rows.rename_column("text", PARAGRAPH) if kind == "text" else rows

    return Rows(origin, make, zlib.crc32(repr(facts).encode()))


def _on_hub(name: str, config: str | None) -> Rows:
    origin = f"hub:{name}"
    return Rows(origin, lambda: _opened(origin, name, config), zlib.crc32(f"{name}:{config}".encode()))


def _opened(origin: str, *source: str | None, **options: Any) -> Any:
    """The library's rows of a source, which it looks into to learn their columns."""
    import datasets

    try:
        return datasets.load_dataset(*source, split="train", streaming=True, **options)
    except StopIteration:
        raise DataError(f"{origin}: the data set is empty: there is no row to learn from") from None
    except Exception as error:
        raise DataError(f"{origin}: cannot be read: {reason_of(error)}") from error
