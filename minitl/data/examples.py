"""What every data set becomes: examples, one kind for each kind of task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from minitl.data.stream import Stream


@dataclass(frozen=True)
class Example:
    """One text, or pair of texts, with its label."""

    text: str
    pair: str | None = None
    label: int | float | None = None  # a class index; a score (float) for regression; None = unlabelled

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return (self.text,) if self.pair is None else (self.text, self.pair)


@dataclass(frozen=True)
class TaggedSentence:
    """Words, and a tag for each; None = untagged."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return (" ".join(self.words),)


@dataclass(frozen=True)
class ParsedSentence:
    """Words with what a treebank says of each: columns of CoNLL-U, all of one length.

    lemmas, upos   "_" where the treebank leaves it open
    feats          morphological features: {"Number": "Sing"}
    heads          which word it hangs on, counted from 0; -1 for the root, of which there is one
    deprels        in what relation, with its subtype: "nsubj:pass"
    """

    words: tuple[str, ...]
    lemmas: tuple[str, ...]
    upos: tuple[str, ...]
    feats: tuple[Mapping[str, str], ...]
    heads: tuple[int, ...]
    deprels: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return (" ".join(self.words),)


@dataclass(frozen=True)
class Question:
    """A question on a text, and what of the text answers it."""

    question: str
    context: str
    answers: tuple[tuple[str, int], ...] | None = None  # (text, its first character); () = not answered there; None = ?
    id: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return (self.question, self.context)


@dataclass(frozen=True)
class Related:
    """An anchor and a text that belongs to it, maybe one that does not; or any two texts, and how alike they are."""

    anchor: str
    positive: str
    negative: str | None = None
    score: float | None = None  # from 0 to 1

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return tuple(text for text in (self.anchor, self.positive, self.negative) if text is not None)


@dataclass(frozen=True)
class Preference:
    """A prompt with two completions, of which one was preferred to the other."""

    prompt: str
    chosen: str
    rejected: str

    @property
    def texts(self) -> tuple[str, ...]:
        """All that there is to read in it."""
        return (self.prompt, self.chosen, self.rejected)


E = TypeVar("E")


@dataclass
class Dataset(Generic[E]):
    """A data set in three splits, any of which may be empty; `stream` stands for a training split not in memory."""

    name: str
    origin: str  # where it was found: a path, "embedded", or "hub:ID@revision"
    train: list[E]
    validation: list[E]
    test: list[E]
    label_names: list[str] | None  # of each class index, or the tags; None for regression and unlabelled sets
    stream: "Stream[E] | None" = None

    @property
    def taught(self) -> "list[E] | Stream[E]":
        """What there is to learn from."""
        return self.train if self.stream is None else self.stream
