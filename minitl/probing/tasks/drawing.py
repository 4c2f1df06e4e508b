"""Drawing the texts of a corpus: so many of each split, in an order that the seed decides, and none twice."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from minitl.data import Dataset, sample
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Corpus, Split, Text

LEAST, MOST = 3, 60  # words of a sentence: shorter ones have no structure, longer ones no room in small models


class Sentence(Protocol):
    """Whatever else is known of it."""

    @property
    def words(self) -> Text: ...


S = TypeVar("S", bound=Sentence)
E = TypeVar("E")


@dataclass(frozen=True)
class Drawn(Generic[S]):
    """The sentences behind the texts of a corpus, by split: those of training come first, in the corpus too."""

    corpus: Corpus
    sentences: Mapping[Split, Sequence[S]]

    def texts(self, split: Split) -> Iterator[tuple[int, S]]:
        """Each sentence of a split, with the number of its text."""
        first = sum(len(self.sentences[before]) for before in SPLITS[: SPLITS.index(split)])
        yield from enumerate(self.sentences[split], start=first)

    def words(self, split: Split) -> Iterator[tuple[int, S]]:
        """Each sentence of a split, with the number of its first word."""
        starts = self.corpus.starts.tolist()
        for text, sentence in self.texts(split):
            yield starts[text], sentence


def behind(name: str, sentences: Mapping[Split, Sequence[S]]) -> Drawn[S]:
    """These sentences, and the corpus of their words."""
    texts = tuple(sentence.words for split in SPLITS for sentence in sentences[split])
    return Drawn(Corpus(name, texts), sentences)


def draw(name: str, pools: Mapping[Split, Iterable[S]], limits: Mapping[Split, int]) -> Drawn[S]:
    """The first sentences of each pool that have 3 to 60 words and were not met before, up to the split's limit.

    So a training draw of fewer sentences is the beginning of one of more. DataError where a pool has none.
    """
    met: set[Text] = set()
    drawn: dict[Split, list[S]] = {}
    for split in SPLITS:
        taken = drawn[split] = []
        for sentence in pools[split]:
            if len(taken) == limits[split]:
                break
            if LEAST <= len(sentence.words) <= MOST and sentence.words not in met:
                met.add(sentence.words)
                taken.append(sentence)
        if not taken:
            raise DataError(
                f"{name}: no {split} sentence of {LEAST} to {MOST} words, or each is in an earlier split too"
            )
    return behind(name, drawn)


def shuffled(dataset: Dataset[E], seed: int) -> dict[Split, list[E]]:
    """All of each split, in an order that the seed decides; each beginning has the classes in proportion.

    DataError where a split is empty.
    """
    splits: dict[Split, list[E]] = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for split, examples in splits.items():
        if not examples:
            raise DataError(f"{dataset.origin}: no {split} split, and there is none to cut it from")
    return {split: sample(examples, len(examples), seed) for split, examples in splits.items()}


def chosen(pools: Mapping[Split, Iterable[E]], keep: Callable[[E], bool]) -> dict[Split, Iterable[E]]:
    """Of each pool what is to be kept."""
    return {split: filter(keep, pool) for split, pool in pools.items()}
