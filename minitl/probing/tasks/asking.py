"""From questions to a task: classes are numbered, and what training does not know is left out, which is noted."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from minitl.errors import DataError
from minitl.probing.task import SPLITS, Corpus, Examples, Kind, Split, Task

Span = tuple[int, int]


@dataclass(frozen=True)
class About:
    """How a task is called, on the command line and in the report, its kind of knowledge, what it asks in one line."""

    name: str
    title: str
    kind: Kind
    line: str


@dataclass(frozen=True, slots=True)
class Question:
    """One example: its places, the answer, and the type of the word there (see `Examples`)."""

    spans: tuple[Span, ...]
    answer: str | float
    type: Hashable = None


def place(number: int) -> Span:
    """The place of one word, or of one text."""
    return (number, number + 1)


def task_of_classes(
    about: About,
    corpus: Corpus,
    reads: Literal["words", "texts"],
    asked: Mapping[Split, Sequence[Question]],
    order: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
) -> Task:
    """A task whose answers are class names: those that occur in training, sorted, or as `order` has them.

    Questions for validation and test with another answer are left out, and noted. DataError where training has one
    class alone, or a split no question.
    """
    known = {str(question.answer) for question in asked["train"]}
    labels = tuple(name for name in order if name in known) if order is not None else tuple(sorted(known))
    left = {split: [question for question in asked[split] if question.answer in known] for split in SPLITS}
    for split in SPLITS:
        if unknown := len(asked[split]) - len(left[split]):
            notes += (f"left out: {unknown} of {len(asked[split])} {split} examples, whose label training lacks",)
    _check(about, corpus, left)
    if len(labels) < 2:
        raise DataError(
            f"{corpus.name}: the task {about.name!r} has one class, {labels[0]!r}: there is nothing to tell"
        )
    index = {name: at for at, name in enumerate(labels)}
    answers = {split: torch.tensor([index[str(q.answer)] for q in questions]) for split, questions in left.items()}
    return Task(about.name, about.title, about.kind, corpus, reads, labels, _examples(left, answers), notes)


def task_of_scores(
    about: About, corpus: Corpus, asked: Mapping[Split, Sequence[Question]], notes: tuple[str, ...] = ()
) -> Task:
    """A task about texts whose answers are numbers. DataError where a split has no question, or training one answer."""
    _check(about, corpus, asked)
    answers = {split: torch.tensor([float(q.answer) for q in questions]) for split, questions in asked.items()}
    if len(answers["train"].unique()) == 1:
        raise DataError(f"{corpus.name}: the task {about.name!r} has one score: there is nothing to tell")
    return Task(about.name, about.title, about.kind, corpus, "texts", None, _examples(asked, answers), notes)


def _check(about: About, corpus: Corpus, asked: Mapping[Split, Sequence[Question]]) -> None:
    for split in SPLITS:
        if not asked[split]:
            raise DataError(f"{corpus.name}: the task {about.name!r} finds no {split} example ({about.line})")


def _examples(
    asked: Mapping[Split, Sequence[Question]], answers: Mapping[Split, torch.Tensor]
) -> dict[Split, Examples]:
    """Types are numbered alike in all splits."""
    numbers: dict[Hashable, int] = {}
    made: dict[Split, Examples] = {}
    for split, questions in asked.items():
        spans = torch.tensor([question.spans for question in questions])
        types = [numbers.setdefault(question.type, len(numbers)) for question in questions]
        kinds = None if questions[0].type is None else torch.tensor(types)
        made[split] = Examples(spans, answers[split], kinds)
    return made
