"""A data set as tasks ask for it: parsed, tagged, as plain sentences, as labelled texts. Each is drawn once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from minitl.data import (
    Dataset,
    Example,
    ParsedSentence,
    TaggedSentence,
    load_dataset,
    load_tagged,
    load_text,
    load_treebank,
)
from minitl.data.sentences import split_sentences
from minitl.data.splits import cut_off
from minitl.data.tagged import TAGGED
from minitl.data.treebank import TREEBANKS
from minitl.errors import DataError
from minitl.probing.task import Split
from minitl.probing.tasks.drawing import Drawn, draw, shuffled

HELD_OUT = 4  # for so many training sentences, one of validation and one of test
PLENTY = 8
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
VALIDATION, TEST = 1 / (HELD_OUT + 1), 1 / (HELD_OUT + 2)  # cut off where there are none: test first, then validation


class Source:
    """The data set `data`, of which up to `sentences` are drawn for training, and a quarter as many for the rest."""

    def __init__(self, data: str | Path, sentences: int, seed: int) -> None:
        self.name = str(data)
        self.seed = seed
        held = max(sentences // HELD_OUT, 1)
        self.limits: Mapping[Split, int] = {"train": sentences, "validation": held, "test": held}

    @cached_property
    def parsed(self) -> Drawn[ParsedSentence]:
        """Sentences of a treebank."""
        return draw(self.name, self.treebank, self.limits)

    @cached_property
    def tagged(self) -> Drawn[TaggedSentence]:
        """Sentences of words with tags."""
        return draw(self.name, self.tags, self.limits)

    @cached_property
    def plain(self) -> Drawn[ParsedSentence] | Drawn[TaggedSentence]:
        """Sentences of whatever there is: of a treebank its own, of other text what `split_sentences` finds."""
        if self._kind == "parsed":
            return self.parsed
        return self.tagged if self._kind == "tagged" else draw(self.name, self._raw(), self.limits)

    @cached_property
    def plenty(self) -> Drawn[ParsedSentence] | Drawn[TaggedSentence]:
        """Eight times as many, of which a task asks some. They begin with those of `plain`."""
        limits: Mapping[Split, int] = {split: PLENTY * limit for split, limit in self.limits.items()}
        if self._kind == "parsed":
            return draw(self.name, self.treebank, limits)
        return draw(self.name, self.tags if self._kind == "tagged" else self._raw(), limits)

    @cached_property
    def treebank(self) -> dict[Split, list[ParsedSentence]]:
        """All sentences of a treebank, shuffled."""
        if Path(self.name).suffix.lower() in TABLES:
            raise DataError(f"{self.name}: a table; what is asked of the grammar of words needs a treebank, in CoNLL-U")
        dataset = load_treebank(self.name, validation_fraction=VALIDATION, test_fraction=TEST, seed=self.seed)
        return shuffled(dataset, self.seed)

    @cached_property
    def tags(self) -> dict[Split, list[TaggedSentence]]:
        """All tagged sentences, shuffled."""
        dataset = load_tagged(self.name, validation_fraction=VALIDATION, test_fraction=TEST, seed=self.seed)
        return shuffled(dataset, self.seed)

    def labelled(self, scores: bool) -> Dataset[Example]:
        """Texts or pairs of them, with classes or scores."""
        return load_dataset(
            self.name, validation_fraction=VALIDATION, test_fraction=TEST, scores=scores, seed=self.seed
        )

    @property
    def _kind(self) -> Literal["parsed", "tagged", "text"]:
        if _has(self.name, TREEBANKS, ".conllu"):
            return "parsed"
        return "tagged" if _has(self.name, TAGGED, ".conll") else "text"

    def _raw(self) -> dict[Split, Iterator[TaggedSentence]]:
        """Sentences of running text, found as they are asked for."""
        return {split: _sentences(paragraphs) for split, paragraphs in self._running.items()}

    @cached_property
    def _running(self) -> dict[Split, list[str]]:
        """Paragraphs, shuffled: the sentences of one are all in the same split."""
        documents = load_text(self.name, validation_fraction=0, seed=self.seed)
        train, validation, test = (_paragraphs(s) for s in (documents.train, documents.validation, documents.test))
        if not test:
            train, test = cut_off(train, TEST, self.seed)
        if not validation:
            train, validation = cut_off(train, VALIDATION, self.seed)
        paragraphs = Dataset(documents.name, documents.origin, train, validation, test, None)
        return shuffled(paragraphs, self.seed)


def _paragraphs(documents: Sequence[Example]) -> list[str]:
    return [line for document in documents for line in document.text.split("\n")]


def _sentences(paragraphs: Sequence[str]) -> Iterator[TaggedSentence]:
    for paragraph in paragraphs:
        for sentence in split_sentences(paragraph):
            yield TaggedSentence(tuple(sentence.split()))


def _has(name: str, known: Mapping[str, object], ending: str) -> bool:
    """Whether the data is of a kind: by its name, or by how the file, or one in the folder, ends."""
    path = Path(name).expanduser()
    if path.is_dir():
        return any(path.glob(f"*{ending}"))
    return path.suffix.lower() == ending or (name in known and not path.exists())
