"""Sentences with a tag for each word: CoNLL and CoNLL-U files, by name or path.

    The     DT   O             a word a line, its tags in columns, parted by tabs, or by spaces where there is no tab;
    Panthers NNP B-org         a blank line between sentences; lines that begin with -DOCSTART- say nothing

CoNLL-U (.conllu) has ten columns and comments; of its tokens the words of the syntactic tree are taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minitl.data.assets import assets_folder
from minitl.data.examples import Dataset, TaggedSentence
from minitl.data.hub import SPLIT_NAMES
from minitl.data.splits import cut_off
from minitl.data.tables import decode
from minitl.errors import DataError, InputError

ENDINGS = (".conll", ".conllu", ".tsv", ".txt")
CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class TagFiles:
    """One file a split under data/."""

    splits: dict[str, str]
    column: str | int | None = None


def _ner(folder: str, ending: str, dev: bool = True) -> TagFiles:
    stems = {"train": "train", **({"validation": "dev"} if dev else {}), "test": "test"}
    return TagFiles({split: f"ner/{folder}/{stem}{ending}" for split, stem in stems.items()})


# Tagging sets of MINITL_ASSETS. Other languages than English have a development set alone, which is the test set here.
TAGGED: dict[str, TagFiles] = {
    "wnut17": _ner("wnut17", ".conll"),
    "gum": _ner("gum", ".conll", dev=False),
    "ncbi_disease": _ner("ncbi_disease", ".txt"),
    "ud-en": TagFiles(
        {
            split: f"ud_english_ewt/en_ewt-ud-{stem}.conllu"
            for split, stem in {"train": "train", "validation": "dev", "test": "test"}.items()
        },
        column="upos",
    ),
    "udpos-en": TagFiles({"train": "udpos/train-en.tsv", "test": "udpos/dev-en.tsv"}),
    **{
        f"udpos-{language}": TagFiles({"test": f"udpos/dev-{language}.tsv"})
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
    paths, column, origin = _find(str(name), column)
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


def _find(name: str, column: str | int | None) -> tuple[dict[str, Path], str | int | None, str]:
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(path), column, str(path)
    if path.exists():
        return {"train": path}, column, str(path)
    data = assets_folder()
    if isinstance(data, Path) and name in TAGGED:
        files = TAGGED[name]
        paths = {split: data / file for split, file in files.splits.items()}
        absent = [file for file in paths.values() if not file.is_file()]
        if not absent:
            first = next(iter(paths.values()))
            return paths, files.column if column is None else column, str(first.parent)
        tried = f"{absent[0]} is absent"
    else:
        tried = f"it knows {', '.join(TAGGED)}" if isinstance(data, Path) else data
    raise DataError(
        f"no tagged data set {name!r} was found; tried: a file or folder of that name ({path.absolute()} is absent); "
        f"MINITL_ASSETS ({tried})"
    )


def _in_folder(folder: Path) -> dict[str, Path]:
    found = {}
    for split, stems in SPLIT_NAMES.items():
        files = [path for stem in stems for ending in ENDINGS if (path := folder / f"{stem}{ending}").is_file()]
        if len(files) > 1:
            raise DataError(f"{folder}: two files for the {split} split: {files[0].name} and {files[1].name}")
        if files:
            found[split] = files[0]
    if not found:
        raise DataError(
            f"{folder}: no tagged file in this folder; expected train, validation and test, each with one of the "
            f"endings {', '.join(ENDINGS)}"
        )
    return found


def _sentences(path: Path, column: str | int | None) -> Iterator[Placed]:
    """The sentences of a file. DataError names the file and the line."""
    try:
        text = decode(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
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
        return 0, -1 if column is None else column
    if column is None or isinstance(column, str):
        name = column or "upos"
        if name not in CONLLU_COLUMNS:
            raise InputError(f"column {name!r}: those of CoNLL-U are {', '.join(CONLLU_COLUMNS)}")
        column = CONLLU_COLUMNS.index(name)
    return 1, column


def _says_nothing(line: str, conllu: bool) -> bool:
    """Comments, document marks; in CoNLL-U also the ranges of contracted words (3-4) and words left out (5.1)."""
    if not conllu:
        return line.startswith("-DOCSTART-")
    return line.startswith("#") or not line.partition("\t")[0].isdigit()


def _field(fields: Sequence[str], at: int, what: str, place: str) -> str:
    least = at + 1 if at >= 0 else max(-at, 2)  # the word and at least one tag
    if len(fields) < least:
        raise DataError(f"{place}: too few columns: {len(fields)}, where {what} stands in column {least}")
    value = fields[at].strip()
    if not value:
        raise DataError(f"{place}: {what} is missing")
    return value
