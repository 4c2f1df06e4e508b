"""Text as blocks of tokens that fill their rows: what models of a language learn from.

documents   a a a a a E  b b b E  c c c c c c c E       E ends a document
blocks     |a a a a a E| b b b E  c c|c c c c c E|      all but the last as long as a row may be
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minitl.data import Example
from minitl.errors import InputError
from minitl.tokenization import Row, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A row of tokens, and for each whether it begins a word (of what the tokenizer told of words)."""

    row: Row
    begins: npt.NDArray[np.bool_]

    @property
    def length(self) -> int:
        return self.row.length


def blocks(
    tokenizer: Tokenizer, examples: Sequence[Example], length: int, first: int | None, last: int | None
) -> list[Block]:
    """The documents as blocks of `length` tokens; `first` opens each block and `last` ends it, where they are ids.

    Between two documents of a block stands the tokenizer's end token, else its separator. InputError: no room.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    room = length - (first is not None) - (last is not None)
    if room < 1 or length < 2:
        raise InputError(f"max_length {length}: a block has no room for a token to learn from")
    stream, begins = _stream(tokenizer, [example.text for example in examples], end)
    found = []
    for start in range(0, len(stream), room):
        ids, starts = stream[start : start + room], begins[start : start + room]
        opened = [ids] if first is None else [np.array([first], np.int32), ids]
        closed = opened if last is None else [*opened, np.array([last], np.int32)]
        whole = np.concatenate(closed)
        words = np.ones(len(whole), dtype=bool)
        words[(first is not None) : (first is not None) + len(ids)] = starts
        types = np.zeros(len(whole), dtype=np.uint8) if tokenizer.token_types else None
        found.append(Block(Row(whole, types), words))
    return found


def _stream(
    tokenizer: Tokenizer, texts: Sequence[str], end: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The ids of all documents one after the other, and which of them begin a word."""
    ids, begins = [np.empty(0, np.int32)], [np.empty(0, bool)]
    for row, starts in tokenizer.bare_rows(texts):
        ids.append(row)
        begins.append(starts)
        if end is not None:
            ids.append(np.array([end], np.int32))
            begins.append(np.array([True]))
    return np.concatenate(ids), np.concatenate(begins)
