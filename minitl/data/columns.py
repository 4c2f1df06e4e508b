"""From rows to records: which columns hold the text, the second text and the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minitl.data.tables import Table
from minitl.errors import DataError

TEXT_NAMES = ("text", "sentence", "review", "content")
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"))
LABEL_NAMES = ("label", "labels", "class", "sentiment", "score", "similarity_score")


@dataclass(frozen=True)
class Columns:
    """The names of the columns to read; None = no such column."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def or_else(self, default: "Columns") -> "Columns":
        """These columns, and `default`'s where these name none."""
        return Columns(self.text or default.text, self.pair or default.pair, self.label or default.label)


@dataclass(frozen=True)
class Record:
    """An example before its label is encoded, with its place for messages."""

    text: str
    pair: str | None
    label: Any
    place: str


def choose_columns(asked: Columns, present: Sequence[str], source: str) -> Columns:
    """Fill in the columns that were not asked for by name from the usual names, whatever their case.

    A label column is optional: a table without one is unlabelled. Raises DataError, naming the columns there are, when
    a column that was asked for is absent, or no usual name of a text column is present.
    """
    for role, name in (("text", asked.text), ("pair", asked.pair), ("label", asked.label)):
        if name is not None and name not in present:
            raise DataError(f"{source}: no column {name!r} for the {role}; the columns are {_listed(present)}")
    by_lower = {name.lower(): name for name in reversed(present)}

    def usual(names: Sequence[str]) -> str | None:
        return next((by_lower[name] for name in names if name in by_lower), None)

    text, pair = asked.text, asked.pair
    if text is None:
        text = usual(TEXT_NAMES)
        both = next((two for two in PAIR_NAMES if two[0] in by_lower and two[1] in by_lower), None)
        if text is None and both is not None:
            text, pair = by_lower[both[0]], pair or by_lower[both[1]]
    if text is None:
        raise DataError(
            f"{source}: no column with a usual name for the text ({', '.join(TEXT_NAMES)}, sentence1 and sentence2); "
            f"the columns are {_listed(present)}: name one with text="
        )
    label = asked.label if asked.label is not None else usual(LABEL_NAMES)
    return Columns(text, pair, None if label in (text, pair) and asked.label is None else label)


def records(table: Table, asked: Columns) -> list[Record]:
    """The rows of `table` as records. Raises DataError on a missing column, or a text that is missing or no string."""
    columns = choose_columns(asked, table.columns, table.source)
    return [
        Record(
            text=_string(row, columns.text, place),
            pair=None if columns.pair is None else _string(row, columns.pair, place),
            label=None if columns.label is None else row.get(columns.label),
            place=place,
        )
        for row, place in zip(table.rows, table.places, strict=True)
    ]


def _string(row: dict[str, Any], column: str | None, place: str) -> str:
    value = row.get(column) if column is not None else None
    if not isinstance(value, str):
        found = "nothing" if value is None else f"{type(value).__name__} {value!r}"
        raise DataError(f"{place}: the column {column!r} must hold a text, found {found}")
    return value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
