"""Sentences with a tag for each word: CoNLL and CoNLL-U files, by name or path.

    The     DT   O             a word a line, its tags in columns, parted by tabs, or by spaces where there is no tab;
    Panthers NNP B-org         a blank line between sentences; lines that begin with -DOCSTART- say nothing

CoNLL-U (.conllu) has ten columns and comments; of its tokens the words of the syntactic tree are taken.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from minitl.data.assets import STEMS
from minitl.data.examples import Dataset, TaggedSentence
from minitl.data.finding import find_files
from minitl.data.splits import cut_off
from minitl.data.tables import read_text
from minitl.errors import DataError, InputError

ENDINGS = (".conll", ".conllu", ".tsv", ".txt")
CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def _ner(folder: str, ending: str, dev: bool = True) -> dict[str, str]:
    return {split: f"ner/{folder}/{stem}{ending}" for split, stem in STEMS.items() if dev or stem != "dev"}


# Tagging sets of MINITL_ASSETS. Other languages than English have a development set alone, which is the test set here.
TAGGED: dict[str, dict[str, str]] = {
    "wnut17": _ner("wnut17", ".conll"),
    "gum": _ner("gum", ".conll", dev=False),
    "ncbi_disease": _ner("ncbi_disease", ".txt"),
    "ud-en": {split: f"ud_english_ewt/en_ewt-ud-{stem}.conllu" for split, stem in STEMS.items()},
    "udpos-en": {"train": "udpos/train-en.tsv", "test": "udpos/dev-en.tsv"},
    **{
        f"udpos-{language}": {"test": f"udpos/dev-{language}.tsv"}
        for language in ["ar", "de", "el", "es", "fi", "fr", "hi", "it", "ja", "nl", "pt", "ru", "tr", "vi", "zh"]
    },
}


def load_tagged(
    name: str | Path, *, column: str | int | None = None, validation_fraction: float = 0.1, seed: int = 0
) -> Dataset[TaggedSentence]:
    """Find the tagged sentences `name` and load all of them.

    A file, which becomes the training split, a folder with files named train, validation (dev, valid, val) and test,
    or a set known by name under the folder that MINITL_ASSETS names (`TAGGED`).

    `column` is that of the tags: an index from 0, negative from the end, or in CoNLL-U a name; None = the last one, and
    "upos" in CoNLL-U. `validation_fraction` of a training split without validation is cut off, drawn with `seed`. The
    tags are those of the training split, sorted, or of all where there is none.

    DataError: nothing is found (listing what was tried), a file is damaged or empty, a line has too few columns, or a
    tag does not occur in the training split. InputError: a fraction outside [0, 1), no such column.
    """
    paths, origin = find_files(name, TAGGED, ENDINGS, "tagged data set")
    placed = {split: list(_sentences(path, column)) for split, path in paths.items()}
    known = sorted({tag for sentence, _ in placed.get("train") or _all(placed) for tag in sentence.tags or ()})
    for sentences in placed.values():
        for sentence, places in sentences:
            for tag, place in zip(sentence.tags or (), places, strict=True):
                if tag not in known:
                    raise DataError(
                        f"{place}: the tag {tag!r} does not occur in the training split ({', '.join(known)})"
                    )
    splits = {split: [sentence for sentence, _ in sentences] for split, sentences in placed.items()}
    train, validation = splits.get("train", []), splits.get("validation", [])
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, splits.get("test", []), known)


Placed = tuple[TaggedSentence, list[str]]  # a sentence, and where each of its words stands


def _all(placed: dict[str, list[Placed]]) -> list[Placed]:
    return [sentence for sentences in placed.values() for sentence in sentences]


def _sentences(path: Path, column: str | int | None) -> Iterator[Placed]:
    """The sentences of a file. DataError names the file and the line."""
    text = read_text(path)
    conllu = path.suffix.lower() == ".conllu"
    word_at, tag_at = _columns(column, conllu)
    words: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    any_sentence = False
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if words:
                any_sentence = True
                yield TaggedSentence(tuple(words), tuple(tags)), places
            words, tags, places = [], [], []
        elif not _says_nothing(line, conllu):
            place = f"{path}, line {number}"
            fields = line.split("\t") if "\t" in line else line.split()
            words.append(_field(fields, word_at, "the word", place))
            tags.append(_field(fields, tag_at, "the tag", place))
            places.append(place)
    if not any_sentence:
        raise DataError(f"{path}: the data set is empty: it has no sentences")


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


def _says_nothing(line: str, conllu: bool) -> bool:
    """Comments, document marks; in CoNLL-U also the ranges of contracted words (3-4) and words left out (5.1)."""
    if not conllu:
        return line.startswith("-DOCSTART-")
    return line.startswith("#") or not line.partition("\t")[0].isdigit()


def _field(fields: Sequence[str], at: int, what: str, place: str) -> str:
    least = at + 1 if at >= 0 else 1 - at  # the word stands before the tags
    if len(fields) < least:
        raise DataError(f"{place}: too few columns: {len(fields)}, where {what} stands in column {least}")
    value = fields[at].strip()
    if not value:
        raise DataError(f"{place}: {what} is missing")
    return value
