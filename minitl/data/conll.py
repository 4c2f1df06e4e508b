"""Files of a word a line: the sentences of CoNLL and CoNLL-U, as lines that remember where they stood.

The     DT   O             CoNLL: columns parted by tabs, or by spaces where there is no tab;
Panthers NNP B-org         a blank line between sentences; lines that begin with -DOCSTART- say nothing

1-2  It's  _   …           CoNLL-U: ten columns parted by tabs, comments behind #; the words of the syntactic tree
1    It    it  …           are numbered 1, 2, 3 …; ranges of contracted words (1-2) and words left out (2.1) are
2    's    be  …           passed over
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minitl.data.tables import read_text
from minitl.errors import DataError

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")


@dataclass(frozen=True)
class Line:
    """The columns of a word; `place` says where it stands: "file, line 3"."""

    fields: Sequence[str]
    place: str

    def field(self, at: int, what: str) -> str:
        """Column `at`, from the end where it is negative. DataError where there is none, or it is blank."""
        least = at + 1 if at >= 0 else 1 - at  # the word stands before what is asked from the end
        if len(self.fields) < least:
            raise DataError(f"{self.place}: too few columns: {len(self.fields)}, where {what} stands in column {least}")
        value = self.fields[at].strip()
        if not value:
            raise DataError(f"{self.place}: {what} is missing")
        return value


def read_conll(path: Path) -> Iterator[list[Line]]:
    """The sentences of a CoNLL file, of any number of columns. DataError where it cannot be read."""
    for numbered in _blocks(path):
        lines = [
            Line(text.split("\t") if "\t" in text else text.split(), f"{path}, line {number}")
            for number, text in numbered
            if not text.startswith("-DOCSTART-")
        ]
        if lines:
            yield lines


def read_conllu(path: Path) -> Iterator[list[Line]]:
    """The sentences of a CoNLL-U file. DataError where it cannot be read, or has other columns or numbers."""
    for numbered in _blocks(path):
        lines: list[Line] = []
        for number, text in numbered:
            fields = text.split("\t")
            if text.startswith("#") or NO_WORD.fullmatch(fields[0]):
                continue
            line = Line(fields, f"{path}, line {number}")
            if len(fields) != len(CONLLU_COLUMNS):
                amount = "few" if len(fields) < len(CONLLU_COLUMNS) else "many"
                raise DataError(
                    f"{line.place}: too {amount} columns: {len(fields)}, where CoNLL-U has {len(CONLLU_COLUMNS)}, "
                    f"parted by tabs ({', '.join(CONLLU_COLUMNS)})"
                )
            if fields[0] != str(len(lines) + 1):
                raise DataError(
                    f"{line.place}: the word has the number {fields[0]!r}, expected {len(lines) + 1}: the words of a "
                    "sentence are numbered 1, 2, 3 …, and a blank line ends it"
                )
            lines.append(line)
        if lines:
            yield lines


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """The lines between blank ones, each with its number."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*read_text(path).split("\n"), ""], start=1):
        if line.strip():
            block.append((number, line.rstrip("\r")))
        elif block:
            yield block
            block = []
