"""Texts that belong together: pairs, triplets with a text that does not belong, and pairs with a score."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minitl.data.columns import Columns
from minitl.data.datasets import find_tables
from minitl.data.examples import Dataset, Related
from minitl.data.splits import cut_off
from minitl.data.stream_files import load_stream
from minitl.data.tables import Table
from minitl.errors import DataError, InputError

# What the columns are usually called; those of the first line go together.
ANCHORS = ("anchor", "query", "sentence1", "premise", "question1")
POSITIVES = ("positive", "document", "sentence2", "hypothesis", "question2")
NEGATIVES = ("negative",)
SCORES = ("score", "similarity_score", "label")


def load_related(
    name: str | Path,
    *,
    anchor: str | None = None,
    positive: str | None = None,
    negative: str | None = None,
    score: str | None = None,
    highest: float = 1.0,
    least: float | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    stream: int | None = None,
    seed: int = 0,
) -> Dataset[Related]:
    """Find the data set `name` as `load_dataset` does, and read its pairs and triplets.

    anchor, positive   columns of the texts that belong together, or whose likeness has a score
    negative           column of a text that does not belong to the anchor
    score              column of a number; each left out is a column of a usual name, and the last two may be absent
    highest            the score of texts that mean the same: scores run from 0 to it, and are divided by it
    least              of the pairs with a score, those of so much or more are positives (the score, not divided, is
                       looked at and then forgotten), and the others are left out of every split
    stream             rows that are in memory at a time, see `load_stream`; None = all

    DataError: nothing is found, a column is missing, a text or score is missing or out of range, or no pair reaches
    `least`. InputError: numbers that mean nothing.
    """
    if not (math.isfinite(highest) and highest > 0):
        raise InputError(f"highest must be above 0, got {highest}")
    asked = {"anchor": anchor, "positive": positive, "negative": negative, "score": score}
    if stream is not None:
        return load_stream(name, lambda table: _chosen(table, asked, highest, least), stream, validation_fraction, {})
    tables, declared, _, origin = find_tables(str(name), Columns())
    asked = {"anchor": declared.text, "positive": declared.pair, "score": declared.label} | {
        role: column for role, column in asked.items() if column is not None
    }
    splits = {split: _chosen(table, asked, highest, least) for split, table in tables.items()}
    if least is not None and not any(splits.values()):
        raise DataError(f"{origin}: no pair has a score of {least} or more")
    train, validation, test = (splits.get(split, []) for split in ("train", "validation", "test"))
    if not test:
        train, test = cut_off(train, test_fraction, seed)
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, test, None)


def _chosen(table: Table, asked: dict[str, str | None], highest: float, least: float | None) -> list[Related]:
    examples = _examples(table, asked, highest)
    return examples if least is None else _positives(examples, least / highest)


def _examples(table: Table, asked: dict[str, str | None], highest: float) -> list[Related]:
    anchor = _needed(table, "anchor", asked.get("anchor"), ANCHORS)
    positive = _needed(table, "positive", asked.get("positive"), POSITIVES)
    negative = _column(table, "negative", asked.get("negative"), NEGATIVES)
    score = _column(table, "score", asked.get("score"), SCORES)
    return [
        Related(
            _text(row, anchor, place),
            _text(row, positive, place),
            None if negative is None else _text(row, negative, place),
            None if score is None else _score(row, score, highest, place),
        )
        for row, place in zip(table.rows, table.places, strict=True)
    ]


def _needed(table: Table, role: str, asked: str | None, usual: Sequence[str]) -> str:
    column = _column(table, role, asked, usual)
    if column is None:
        raise DataError(
            f"{table.source}: no column with a usual name for the {role} ({', '.join(usual)}); the columns are "
            f"{', '.join(map(repr, table.columns))}: name one with {role}="
        )
    return column


def _column(table: Table, role: str, asked: str | None, usual: Sequence[str]) -> str | None:
    if asked is not None and asked not in table.columns:
        listed = ", ".join(map(repr, table.columns))
        raise DataError(f"{table.source}: no column {asked!r} for the {role}; the columns are {listed}")
    return asked or next((name for name in usual if name in table.columns), None)


def _text(row: dict[str, Any], column: str, place: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: the column {column!r} must hold a text, found {value!r}")
    return value


def _score(row: dict[str, Any], column: str, highest: float, place: str) -> float:
    """A number from 0 to `highest`, as a share of it."""
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= highest:
        raise DataError(
            f"{place}: the column {column!r} must hold a score from 0 to {highest:g} (the option highest), found "
            f"{row.get(column)!r}"
        )
    return value / highest


def _positives(examples: list[Related], least: float) -> list[Related]:
    if any(example.score is None for example in examples):
        raise DataError("least chooses pairs by their score, and there is no column of scores")
    return [
        Related(example.anchor, example.positive, example.negative)
        for example in examples
        if example.score is not None and example.score >= least
    ]
