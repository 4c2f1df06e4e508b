"""What every data set becomes: examples of a text, perhaps a second one, and perhaps a label."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One text, or pair of texts, with its label."""

    text: str
    pair: str | None = None
    label: int | float | None = None  # a class index; a score (float) for regression; None = unlabelled


@dataclass
class Dataset:
    """A data set in three splits, any of which may be empty."""

    name: str
    origin: str  # where it was found: a path, "embedded", or "hub:ID@revision"
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    label_names: list[str] | None  # the name of each class index; None for regression and for unlabelled sets
