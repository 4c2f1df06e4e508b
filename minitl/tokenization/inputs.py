"""What may be given as texts: checked, dealt out by parts, and without what no UTF-8 text can hold."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minitl.errors import InputError

SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"

# Characters that are tokenised in one call where only ids are kept: what the backend says of a token takes 100 bytes.
AT_A_TIME = 2_000_000


def check_strings(name: str, values: Sequence[str]) -> None:
    """InputError, naming the place in the argument `name`, where `values` holds something that is no string."""
    if isinstance(values, str):
        raise InputError(f"{name} must be a list of strings beside a list, found one string")
    check_list(name, values)
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{name}[{position}] must be a string, found {type(value).__name__}")


def check_list(name: str, values: object) -> None:
    """InputError where the argument `name` cannot be gone through."""
    if not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, found {type(values).__name__}")


def check_words(texts: Sequence[Sequence[str]]) -> None:
    """InputError, naming the place in the argument `words`, where a text is no list of words."""
    check_list("words", texts)
    for row, text in enumerate(texts):
        if isinstance(text, str) or not isinstance(text, Iterable) or not all(isinstance(word, str) for word in text):
            raise InputError(f"words[{row}] must be a list of strings, found {text!r:.60}")


def parts(texts: Sequence[str]) -> Iterator[slice]:
    """The texts by parts of about `AT_A_TIME` characters."""
    start = size = 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= AT_A_TIME or place == len(texts) - 1:
            yield slice(start, place + 1)
            start, size = place + 1, 0


def without_surrogates(value: Any) -> Any:
    """The same strings, lists and pairs with U+FFFD for each lone surrogate."""
    if isinstance(value, str):
        return SURROGATE.sub(REPLACEMENT, value)
    return type(value)(without_surrogates(item) for item in value)
