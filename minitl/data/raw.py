"""Unlabelled text, for learning a language or a domain: documents of paragraphs, by name or path.

.txt, .txt.xz                a paragraph a line, a blank line between documents
any set of labelled texts    a document a row
"""

from collections.abc import Sequence
from pathlib import Path

from minitl.data.columns import Columns, records
from minitl.data.datasets import load_dataset
from minitl.data.examples import Dataset, Example
from minitl.data.finding import SPLIT_NAMES, find_files
from minitl.data.splits import cut_off
from minitl.data.stream_files import PARAGRAPH, load_stream
from minitl.data.tables import Table, read_text
from minitl.errors import DataError, InputError

NOVELS = {f"novels-{code}": {"train": f"text/novels-{code}.txt.xz"} for code in ("eng", "deu", "fra", "spa")}


def load_text(
    name: str | Path | Sequence[str],
    *,
    text: str | None = None,
    validation_fraction: float = 0.05,
    stream: int | None = None,
    seed: int = 0,
) -> Dataset[Example]:
    """Find the text `name` and load all of it: an `Example` for each document, its paragraphs parted by line breaks.

    A .txt or .txt.xz file; the novels of MINITL_ASSETS (`NOVELS`); or the texts of any set of `load_dataset`, whose
    column `text` may be named. `validation_fraction` of the documents is cut off, drawn with `seed`. With `stream`,
    only so many documents are in memory at a time, and the first are cut off, see `load_stream`. Of several names the
    texts follow one another, each with a part cut off: languages, say, that one model is to learn.

    DataError: nothing is found (listing what was tried), or a file is damaged or empty. InputError: a stream
    of several.
    """
    if not isinstance(name, str | Path):
        return _joined(name, text, validation_fraction, stream, seed)
    if stream is not None:
        return load_stream(name, lambda table: _of_rows(table, text), stream, validation_fraction, NOVELS)
    path = Path(name).expanduser()
    if path.is_file() and path.name.endswith((".txt", ".txt.xz")):
        return _dataset(str(name), path, validation_fraction, seed)
    if str(name) in NOVELS:
        files, _ = find_files(name, NOVELS, (".txt",), "text")
        return _dataset(str(name), files["train"], validation_fraction, seed)
    labelled = load_dataset(name, text=text, validation_fraction=validation_fraction, seed=seed)
    train, validation, test = (
        [Example(e.text) for e in split] for split in (labelled.train, labelled.validation, labelled.test)
    )
    return Dataset(labelled.name, labelled.origin, train, validation, test, None)


def _joined(
    names: Sequence[str], text: str | None, validation_fraction: float, stream: int | None, seed: int
) -> Dataset[Example]:
    if stream is not None:
        raise InputError(f"a stream is of one text, got {', '.join(names)}")
    parts = [load_text(name, text=text, validation_fraction=validation_fraction, seed=seed) for name in names]
    train, validation, test = ([e for part in parts for e in getattr(part, split)] for split in SPLIT_NAMES)
    return Dataset(", ".join(names), ", ".join(part.origin for part in parts), train, validation, test, None)


def _dataset(name: str, path: Path, fraction: float, seed: int) -> Dataset[Example]:
    documents = [Example(document) for document in _documents(read_text(path))]
    if not documents:
        raise DataError(f"{path}: the data set is empty: it has no text")
    train, validation = cut_off(documents, fraction, seed)
    return Dataset(name, str(path), train, validation, [], None)


def _of_rows(table: Table, text: str | None) -> list[Example]:
    """A paragraph may be several documents: what parts them may be a line of blanks."""
    if table.columns == [PARAGRAPH]:
        return [Example(document) for row in table.rows for document in _documents(row[PARAGRAPH])]
    return [Example(row.text) for row in records(table, Columns(text))]


def _documents(text: str) -> list[str]:
    documents, lines = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line.strip())
        elif lines:
            documents.append("\n".join(lines))
            lines = []
    return documents
