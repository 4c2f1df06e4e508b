"""Texts with what is to be written of them: sentences and their translations, documents and their summaries.

train.de + train.en     aligned files, line n of one with line n of the other; also with .gz or .xz behind
train.jsonl             a table, a pair a row
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitl.data.assets import VARIABLE, assets_folder
from minitl.data.columns import Columns, records
from minitl.data.examples import Dataset, Example
from minitl.data.finding import SPLIT_NAMES, NotFound, find_files
from minitl.data.hub import fetch_splits
from minitl.data.splits import cut_off
from minitl.data.stream_files import load_stream
from minitl.data.tables import READERS, Table, read_table, read_text
from minitl.errors import DataError, InputError

log = logging.getLogger("minitl")

# Under data/ of MINITL_ASSETS. Aligned files: for each split, their names without the ending.
ALIGNED = {"multi30k": {"train": "multi30k/train", "validation": "multi30k/val", "test": "multi30k/test_2016_flickr"}}
TABLES = {name: {"train": f"summarisation/{name}.jsonl"} for name in ("xsum", "cnn_dailymail", "samsum", "gigaword")}
TEST_ROWS = 40  # the last rows of each of these tables are its test split
PACKED = ("", ".gz", ".xz")

Pairs = list[Example]


def load_pairs(
    name: str | Path,
    *,
    text: str | None = None,
    pair: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    stream: int | None = None,
    seed: int = 0,
) -> Dataset[Example]:
    """Find the pairs `name` and load all of them: an `Example` with what is read as text, what is written as pair.

    A folder of aligned files named train, validation (or dev, valid, val) and test, whose endings `text` and `pair`
    name; a .jsonl, .csv, .tsv or .parquet file or a folder of such, of which they name columns (left out, a table's
    only two); a set of MINITL_ASSETS: multi30k, with the languages en, de and fr, and the summaries of `TABLES`; or one
    on the hub, "ID" or "ID:CONFIG", where a column within a column has both names: "translation.de".

    Without test split `test_fraction` of the training split is cut off, then without validation split
    `validation_fraction`, drawn with `seed`. Pairs of which a side is empty are left out, which is announced. With
    `stream`, only so many rows of a table are in memory at a time, see `load_stream`.

    DataError: nothing is found, aligned files of different lengths, a file that is damaged or empty, a column that is
    missing or holds no text. InputError: a fraction outside [0, 1).
    """
    for which, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise InputError(f"{which} must be at least 0 and below 1, not {fraction}")
    if stream is not None:
        return load_stream(name, lambda table: _of_table(table, text, pair), stream, validation_fraction, {})
    folder = Path(name).expanduser()
    stems = _stems(name, folder)
    if stems and (str(name) in ALIGNED or _is_aligned(stems)):
        splits, origin = _read_aligned(stems, text, pair, str(name)), str(next(iter(stems.values())).parent)
    else:
        splits, origin = _read_tables(name, text, pair)
    train, validation, test = (splits.get(split, []) for split in SPLIT_NAMES)
    if not test:
        train, test = cut_off(train, test_fraction, seed)
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, test, None)


def _stems(name: str | Path, folder: Path) -> dict[str, Path]:
    """For each split the path of its aligned files without their endings; {} where there can be none."""
    if folder.is_dir():
        by_split = {
            split: next((folder / stem for stem in stems if _endings(folder / stem)), None)
            for split, stems in SPLIT_NAMES.items()
        }
        return {split: stem for split, stem in by_split.items() if stem is not None}
    data = assets_folder()
    if str(name) not in ALIGNED or folder.exists():
        return {}
    if isinstance(data, str):
        raise DataError(f"no set of pairs {str(name)!r} was found: {VARIABLE} is {data}, and there is no such folder")
    return {split: data / stem for split, stem in ALIGNED[str(name)].items()}


def _endings(stem: Path) -> list[str]:
    """What stands behind `stem` in the names of files, the ending of an archive left out: languages."""
    files = stem.parent.glob(f"{stem.name}.*") if stem.parent.is_dir() else ()
    names = {path.name.removesuffix(".gz").removesuffix(".xz").removeprefix(f"{stem.name}.") for path in files}
    return sorted(name for name in names if "." not in name)


def _is_aligned(stems: Mapping[str, Path]) -> bool:
    """Whether the files of a folder are aligned ones, not tables."""
    return any(f".{ending}" not in READERS for stem in stems.values() for ending in _endings(stem))


def _read_aligned(stems: Mapping[str, Path], text: str | None, pair: str | None, name: str) -> dict[str, Pairs]:
    present = _endings(next(iter(stems.values())))
    if text is None or pair is None or text == pair:
        known = ", ".join(present) or "none"
        raise DataError(f"{name}: text and pair must name two languages, read and written; there are {known}")
    splits = {}
    for split, stem in stems.items():
        files = [_file(stem, ending, present) for ending in (text, pair)]
        read, written = (_lines(file) for file in files)
        if len(read) != len(written):
            raise DataError(f"{files[0]} has {len(read)} lines and {files[1]} has {len(written)}: they are not aligned")
        splits[split] = _whole(list(zip(read, written, strict=True)), str(files[1]))
    return splits


def _file(stem: Path, ending: str, present: Sequence[str]) -> Path:
    found = [path for packed in PACKED if (path := Path(f"{stem}.{ending}{packed}")).is_file()]
    if not found:
        raise DataError(f"{stem}.{ending}: no such file, packed or not; there are the languages {', '.join(present)}")
    return found[0]


def _lines(path: Path) -> list[str]:
    """At line feeds only: what else may look like the end of a line stands within one, in the other file too."""
    return [line.strip() for line in read_text(path).removesuffix("\n").split("\n")]


def _read_tables(name: str | Path, text: str | None, pair: str | None) -> tuple[dict[str, Pairs], str]:
    try:
        files, origin = find_files(name, {**ALIGNED, **TABLES}, list(READERS), "set of pairs")
    except NotFound as absent:
        fetched, origin = fetch_splits(name, absent)
        return {
            split: _of_table(_of_rows(rows, f"{origin}, {split}"), text, pair) for split, rows in fetched.items()
        }, origin
    splits = {}
    for split, path in files.items():
        splits[split] = _of_table(read_table(path), text, pair)
    if not Path(name).expanduser().exists():
        splits = {"train": splits["train"][:-TEST_ROWS], "test": splits["train"][-TEST_ROWS:]}
    return splits, origin


def _of_rows(rows: Any, source: str) -> Table:
    content = rows.flatten().to_list()
    return Table(
        source, list(content[0]) if content else [], content, [f"{source}, row {i + 1}" for i in range(len(content))]
    )


def _of_table(table: Table, text: str | None, pair: str | None) -> Pairs:
    columns = Columns(text, pair)
    if len(table.columns) == 2:
        columns = columns.or_else(_other_two(table.columns, columns))
    if columns.text is None or columns.pair is None:
        known = ", ".join(table.columns)
        raise DataError(f"{table.source}: text and pair must name the columns, read and written; there are {known}")
    rows = records(table, columns)
    return _whole([(row.text.strip(), (row.pair or "").strip()) for row in rows], table.source)


def _other_two(present: Sequence[str], named: Columns) -> Columns:
    """The columns of a table of two, in their order, but for what is named."""
    first, second = present
    if named.text == second or named.pair == first:
        first, second = second, first
    return Columns(first, second)


def _whole(pairs: Sequence[tuple[str, str]], where: str) -> Pairs:
    """The pairs of which both sides say something."""
    whole = [Example(read, written) for read, written in pairs if read and written]
    if not whole:
        raise DataError(f"{where}: the data set is empty: it has no pair of texts")
    if len(whole) < len(pairs):
        log.warning(
            "%s: %d of %d pairs have an empty side, and are left out", where, len(pairs) - len(whole), len(pairs)
        )
    return whole
