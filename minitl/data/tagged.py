"""Sentences with a tag for each word: one column of CoNLL and CoNLL-U files (`minitl.data.conll`), or of a set on the
hub, whose rows have a list of tokens and one of tags.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minitl.data.assets import STEMS
from minitl.data.conll import CONLLU_COLUMNS, read_conll, read_conllu
from minitl.data.examples import Dataset, TaggedSentence
from minitl.data.finding import SPLIT_NAMES, NotFound, find_files
from minitl.data.hub import fetch_splits
from minitl.data.splits import cut_off
from minitl.data.treebank import TREEBANKS
from minitl.errors import DataError, InputError

ENDINGS = (".conll", ".conllu", ".tsv", ".txt")
TOKENS, NER = "tokens", "ner_tags"  # columns, as sets on the hub have them


def _ner(folder: str, ending: str, dev: bool = True) -> dict[str, str]:
    return {split: f"ner/{folder}/{stem}{ending}" for split, stem in STEMS.items() if dev or stem != "dev"}


# Tagging sets of MINITL_ASSETS. Other languages than English have a development set alone, which is the test set here.
TAGGED: dict[str, dict[str, str]] = {
    "wnut17": _ner("wnut17", ".conll"),
    "gum": _ner("gum", ".conll", dev=False),
    "ncbi_disease": _ner("ncbi_disease", ".txt"),
    **TREEBANKS,
    "udpos-en": {"train": "udpos/train-en.tsv", "test": "udpos/dev-en.tsv"},
    **{
        f"udpos-{language}": {"test": f"udpos/dev-{language}.tsv"}
        for language in ["ar", "de", "el", "es", "fi", "fr", "hi", "it", "ja", "nl", "pt", "ru", "tr", "vi", "zh"]
    },
}


def load_tagged(
    name: str | Path,
    *,
    column: str | int | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> Dataset[TaggedSentence]:
    """Find the tagged sentences `name` and load all of them.

    A file, which becomes the training split, a folder with files named train, validation (dev, valid, val) and test,
    a set known by name under the folder that MINITL_ASSETS names (`TAGGED`), or one on the hub, "ID" or "ID:CONFIG".

    `column` is that of the tags: an index from 0, negative from the end, or in CoNLL-U and on the hub a name; None =
    the last one, "upos" in CoNLL-U, and on the hub "ner_tags" or the only list beside the tokens. Without test split
    `test_fraction` of the training split is cut off, then without validation split `validation_fraction`, drawn with
    `seed`. The tags are those of the training split, sorted, or of all where there is none.

    DataError: nothing is found (listing what was tried), a file is damaged or empty, a line has too few columns, or a
    tag does not occur in the training split. InputError: a fraction outside [0, 1), no such column.
    """
    try:
        paths, origin = find_files(name, TAGGED, ENDINGS, "tagged data set")
        placed = {split: list(_sentences(path, column)) for split, path in paths.items()}
    except NotFound as absent:
        fetched, origin = fetch_splits(name, absent)
        placed = {split: list(_rows(rows, column, f"{origin}, {split}")) for split, rows in fetched.items()}
    known = sorted({tag for sentence, _ in placed.get("train") or _all(placed) for tag in sentence.tags or ()})
    for sentences in placed.values():
        for sentence, places in sentences:
            for tag, place in zip(sentence.tags or (), places, strict=True):
                if tag not in known:
                    raise DataError(
                        f"{place}: the tag {tag!r} does not occur in the training split ({', '.join(known)})"
                    )
    splits = {split: [sentence for sentence, _ in sentences] for split, sentences in placed.items()}
    train, validation, test = (splits.get(split, []) for split in SPLIT_NAMES)
    if not test:
        train, test = cut_off(train, test_fraction, seed)
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, test, known)


Placed = tuple[TaggedSentence, list[str]]  # a sentence, and where each of its words stands


def _all(placed: dict[str, list[Placed]]) -> list[Placed]:
    return [sentence for sentences in placed.values() for sentence in sentences]


def _sentences(path: Path, column: str | int | None) -> Iterator[Placed]:
    """The sentences of a file. DataError names the file and the line."""
    conllu = path.suffix.lower() == ".conllu"
    word_at, tag_at = _columns(column, conllu)
    any_sentence = False
    for lines in read_conllu(path) if conllu else read_conll(path):
        any_sentence = True
        words = tuple(line.field(word_at, "the word") for line in lines)
        tags = tuple(line.field(tag_at, "the tag") for line in lines)
        yield TaggedSentence(words, tags), [line.place for line in lines]
    if not any_sentence:
        raise DataError(f"{path}: the data set is empty: it has no sentences")


def _rows(rows: Any, column: str | int | None, where: str) -> Iterator[Placed]:
    """The sentences of a split on the hub. DataError names the row."""
    lists = [name for name, feature in rows.features.items() if hasattr(feature, "feature") and name != TOKENS]
    if isinstance(column, int):
        raise InputError(f"column {column}: those on the hub have names: {', '.join(lists)}")
    if column is None:
        column = NER if NER in lists else lists[0] if len(lists) == 1 else None
    if column is None or column not in lists or TOKENS not in rows.column_names:
        known = ", ".join(rows.column_names)
        raise DataError(f"{where}: expected a list {TOKENS!r}, and a list of tags that column names; there are {known}")
    names = getattr(rows.features[column].feature, "names", None)
    for number, row in enumerate(rows.select_columns([TOKENS, column]), start=1):
        words, tags = tuple(row[TOKENS]), tuple(names[tag] if names else str(tag) for tag in row[column])
        if len(words) != len(tags):
            raise DataError(f"{where}, row {number}: {len(words)} tokens and {len(tags)} tags")
        if words:
            yield TaggedSentence(words, tags), [f"{where}, row {number}"] * len(words)


def _columns(column: str | int | None, conllu: bool) -> tuple[int, int]:
    """Where the word stands in a line, and the tag."""
    if not conllu:
        if isinstance(column, str):
            raise InputError(f"column {column!r}: only the columns of CoNLL-U have names; give the index of the tags")
        if column == 0:
            raise InputError("column 0 is that of the words: give the index of the tags")
        return 0, -1 if column is None else column
    if column is None or isinstance(column, str):
        name = column or "upos"
        if name not in CONLLU_COLUMNS:
            raise InputError(f"column {name!r}: those of CoNLL-U are {', '.join(CONLLU_COLUMNS)}")
        column = CONLLU_COLUMNS.index(name)
    if column % len(CONLLU_COLUMNS) < 2:
        raise InputError(f"column {column}: the first two of CoNLL-U are the word's number and the word, not its tags")
    return 1, column
