"""What the fields of a recipe may be, beyond their types.

Each check takes fields by name, passes by those that are None, and raises an InputError that names one that is wrong.
"""

import math
from collections.abc import Iterable, Sequence

from minitl.errors import InputError


def at_least(least: float, **fields: float | None) -> None:
    for name, value in fields.items():
        if value is not None and not least <= value < math.inf:
            raise InputError(f"{name} must be at least {least}, got {value}")


def above_zero(**fields: float | None) -> None:
    for name, value in fields.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, got {value}")


def below_one(**fields: float | None) -> None:
    for name, value in fields.items():
        if value is not None and not 0 <= value < 1:
            raise InputError(f"{name} must be at least 0 and below 1, got {value}")


def between_zero_and_one(**fields: float | None) -> None:
    for name, value in fields.items():
        if value is not None and not 0 < value < 1:
            raise InputError(f"{name} must be between 0 and 1, got {value}")


def not_empty(**fields: object) -> None:
    """Texts: a name, a path, a column."""
    for name, value in fields.items():
        if isinstance(value, str) and not value.strip():
            raise InputError(f"{name} must not be empty, got {value!r}")


def each_once(**fields: str | Sequence[str] | None) -> None:
    """Lists of names; a single text is none."""
    for name, values in fields.items():
        if values is not None and not isinstance(values, str):
            if not all(value.strip() for value in values):
                raise InputError(f"{name} must name something each time, got {list(values)}")
            if len(set(values)) < len(values):
                raise InputError(f"{name} must name each once, got {list(values)}")


def one_of(known: Iterable[str], **fields: str) -> None:
    for name, value in fields.items():
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
