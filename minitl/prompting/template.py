"""Templates: a text with slots, into which the text to classify is put."""

import re
from collections.abc import Mapping

from minitl.errors import InputError

SLOTS = ("{text}", "{mask}", "{}")


class Template:
    """`template` with each of `slots` once and no other of the slots that there are.

    "{text}" is the text to classify, "{mask}" what a masked language model fills in, "{}" a label's words. Other braces
    are text. InputError names the slot that is missing, double or out of place.
    """

    def __init__(self, template: str, *slots: str) -> None:
        for slot in SLOTS:
            count = template.count(slot)
            if count != (slot in slots):
                raise InputError(
                    f"the template {template!r} must hold {' and '.join(slots)}, each exactly once, and no other slot; "
                    f"found {slot} {count} times"
                )
        self._pieces = re.split("|".join(f"({re.escape(slot)})" for slot in slots), template)
        self._pieces = [piece for piece in self._pieces if piece is not None]

    def fill(self, values: Mapping[str, str]) -> str:
        """The template with `values` in its slots; what looks like a slot inside a value stays as it is."""
        return "".join(values.get(piece, piece) for piece in self._pieces)

    def before(self, slot: str, values: Mapping[str, str]) -> str:
        """What stands before `slot` in the filled template."""
        return "".join(values.get(piece, piece) for piece in self._pieces[: self._pieces.index(slot)])
