"""Where a task's examples come from: the keys of a recipe's [data], and what loads them.

One dataclass for each kind of data set; its fields are the arguments of the loader in `minitl.data`. Those with
`stream` may be larger than memory: so many of their rows are there at a time (`minitl.data.stream`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from minitl.data import Dataset, load_dataset
from minitl.errors import DataError, InputError
from minitl.tasks.ranges import above_zero, at_least, below_one, each_once, not_empty


@dataclass(frozen=True)
class Texts:
    """Labelled texts or pairs of texts, see `minitl.data.load_dataset`."""

    source: str
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    examples: int | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.0

    def __post_init__(self) -> None:
        not_empty(source=self.source, text=self.text, pair=self.pair, label=self.label)
        below_one(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        at_least(1, examples=self.examples)


@dataclass(frozen=True)
class Sentences:
    """Tagged sentences, see `minitl.data.load_tagged`."""

    source: str
    column: str | int | None = None
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        not_empty(source=self.source, column=self.column)
        if self.column == 0:
            raise InputError("column must be that of the tags, got 0, where the words stand")
        below_one(validation_fraction=self.validation_fraction)


@dataclass(frozen=True)
class Questions:
    """Questions on texts, see `minitl.data.load_questions`."""

    source: str
    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        not_empty(source=self.source)
        below_one(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)


@dataclass(frozen=True)
class Raw:
    """Unlabelled text, or several, see `minitl.data.load_text`."""

    source: str | list[str]
    text: str | None = None
    validation_fraction: float = 0.05
    stream: int | None = None

    def __post_init__(self) -> None:
        not_empty(source=self.source, text=self.text)
        each_once(source=self.source)
        if not self.source:
            raise InputError("source must name a text, got []")
        if isinstance(self.source, list) and self.stream is not None:
            raise InputError("stream: a stream is of one source, and there are several")
        below_one(validation_fraction=self.validation_fraction)
        at_least(1, stream=self.stream)


@dataclass(frozen=True)
class Instructions:
    """Prompts and completions, see `minitl.data.load_instructions`."""

    source: str
    prompt: str = "prompt"
    completion: str = "completion"
    group: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    stream: int | None = None

    def __post_init__(self) -> None:
        not_empty(source=self.source, prompt=self.prompt, completion=self.completion, group=self.group)
        _leave_something(self.validation_fraction, self.test_fraction)
        at_least(1, stream=self.stream)


@dataclass(frozen=True)
class Pairs:
    """Texts with what is to be written of them, see `minitl.data.load_pairs`."""

    source: str
    text: str | None = None
    pair: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    stream: int | None = None

    def __post_init__(self) -> None:
        not_empty(source=self.source, text=self.text, pair=self.pair)
        below_one(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        at_least(1, stream=self.stream)


@dataclass(frozen=True)
class RelatedTexts:
    """Texts that belong together, see `minitl.data.load_related`."""

    source: str
    anchor: str | None = None
    positive: str | None = None
    negative: str | None = None
    score: str | None = None
    highest: float = 1.0
    least: float | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.0
    stream: int | None = None

    def __post_init__(self) -> None:
        not_empty(source=self.source, anchor=self.anchor, positive=self.positive)
        not_empty(negative=self.negative, score=self.score)
        above_zero(highest=self.highest)
        if self.least is not None and not 0 <= self.least <= self.highest:
            raise InputError(f"least must lie between 0 and highest, {self.highest}: got {self.least}")
        below_one(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        at_least(1, stream=self.stream)


@dataclass(frozen=True)
class Preferences:
    """Prompts, each with a chosen and a rejected completion, see `minitl.data.load_preferences`."""

    source: str
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        not_empty(source=self.source, prompt=self.prompt, chosen=self.chosen, rejected=self.rejected)
        _leave_something(self.validation_fraction, self.test_fraction)


@dataclass(frozen=True)
class Prompts:
    """Prompts alone, see `minitl.data.load_prompts`."""

    source: str
    prompt: str = "prompt"
    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        not_empty(source=self.source, prompt=self.prompt)
        _leave_something(self.validation_fraction, self.test_fraction)


def _leave_something(validation_fraction: float, test_fraction: float) -> None:
    below_one(validation_fraction=validation_fraction, test_fraction=test_fraction)
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            f"validation_fraction and test_fraction leave nothing to learn from: {validation_fraction}, {test_fraction}"
        )


def by_fields(load: Callable[..., Dataset[Any]]) -> Callable[[Any], Dataset[Any]]:
    """A loader whose named arguments are the fields of a `data` beside its source."""
    return lambda where: load(where.source, **{k: v for k, v in asdict(where).items() if k != "source"})


def load_classes(where: Texts) -> Dataset[Any]:
    """Texts with two classes or more; DataError for others."""
    data = by_fields(load_dataset)(where)
    if not data.label_names or len(data.label_names) < 2:
        found = data.label_names or "none by name: the task of scores is regression"
        raise DataError(f"{where.source}: a classifier needs two labels or more, found {found}")
    return data


def load_scores(where: Texts) -> Dataset[Any]:
    """Texts with a number each, which may be whole: stars, say; DataError for classes."""
    data = by_fields(partial(load_dataset, scores=True))(where)
    if data.label_names:
        raise DataError(f"{where.source}: regression needs scores, found the labels {', '.join(data.label_names)}")
    return data
