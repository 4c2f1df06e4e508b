"""Labels: class names become indices, scores become floats, the same way in every split.

Who asks for scores gets them. Else the training split decides (all splits together where there is none):
whole numbers are classes in numeric order, so that 0 … n - 1 stand for themselves; numbers with a decimal point are
scores of a regression; anything else is a class name, in alphabetic order.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from minitl.data.columns import Record
from minitl.data.examples import Example
from minitl.errors import DataError

WHOLE = re.compile(r"[+-]?\d{1,18}")


def encode_labels(
    splits: dict[str, list[Record]], label_names: Sequence[str] | None = None, scores: bool = False
) -> tuple[dict[str, list[Example]], list[str] | None]:
    """Encode the labels of all splits alike: (the examples of each split, the class names or None).

    `label_names`, where the source declares them, are the names of the class indices 0 … n - 1 that the records hold.
    `scores`: where none are declared, they are scores, also where all are whole numbers.
    A split may lack labels altogether, but not in part. Raises DataError, naming the place, on a label that is missing,
    out of range, unknown to the training split, or not a finite number where scores are expected.
    """
    labelled = {name: rows for name, rows in splits.items() if _is_labelled(rows)}
    deciding = labelled.get("train") or [row for rows in labelled.values() for row in rows]
    names: list[str] | None = None
    if label_names is not None:
        names, known = list(label_names), {str(index): index for index in range(len(label_names))}
    elif scores or not deciding or _is_regression(deciding):
        known = {}
    else:
        names = _class_names(deciding)
        known = {name: index for index, name in enumerate(names)}

    def label_of(row: Record) -> int | float:
        return _score(row) if names is None else _class_index(row, known)

    examples = {
        split: [Example(row.text, row.pair, label_of(row) if split in labelled else None) for row in rows]
        for split, rows in splits.items()
    }
    return examples, names if labelled else None


def _is_labelled(rows: list[Record]) -> bool:
    missing = [row for row in rows if row.label is None or row.label == ""]
    if missing and len(missing) < len(rows):
        raise DataError(f"{missing[0].place}: the label is missing")
    return bool(rows) and not missing


def _is_regression(rows: list[Record]) -> bool:
    """All are numbers, and at least one is written as a decimal fraction."""
    return all(_number(row.label) is not None for row in rows) and not all(_is_whole(row.label) for row in rows)


def _class_names(rows: list[Record]) -> list[str]:
    names = {_name(row) for row in rows}
    if all(WHOLE.fullmatch(name) for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _class_index(row: Record, known: dict[str, int]) -> int:
    name = _name(row)
    if name not in known:
        listed = ", ".join(list(known)[:20]) + (", …" if len(known) > 20 else "")
        raise DataError(f"{row.place}: the label {name!r} is out of range: the known labels are {listed}")
    return known[name]


def _name(row: Record) -> str:
    if not isinstance(row.label, str | int | float):
        raise DataError(f"{row.place}: a label must be a word or a number, found {type(row.label).__name__}")
    text = str(row.label).strip()
    # "01" and "+1" are the number 1
    return str(int(text)) if WHOLE.fullmatch(text) else text


def _score(row: Record) -> float:
    value = _number(row.label)
    if value is None or not math.isfinite(value):
        raise DataError(f"{row.place}: the label {row.label!r} is not a finite number, where scores are expected")
    return value


def _number(label: Any) -> float | None:
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    try:
        return float(label)
    except (ValueError, OverflowError):
        return None


def _is_whole(label: Any) -> bool:
    return isinstance(label, int) or (isinstance(label, str) and WHOLE.fullmatch(label.strip()) is not None)
