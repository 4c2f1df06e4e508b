"""A batch of encoded texts: padded tensors, with the way back to the words and characters they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Encoding
from torch import Tensor

from minitl.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One text, or pair of texts, as ids with special tokens, not padded: what is kept where many are tokenised ahead.

    ids        int32 [length]
    type_ids   uint8 [length]; None for families that have none
    """

    ids: npt.NDArray[np.int32]
    type_ids: npt.NDArray[np.uint8] | None = None

    @property
    def length(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A question and a part of the text that it asks of, in one row.

    first      place of the text's first token in the row
    offsets    int32 [tokens of the text, 2]: where each begins and ends, in characters of the whole text
    """

    row: Row
    first: int
    offsets: npt.NDArray[np.int32]


class Batch(dict[str, Tensor]):
    """`input_ids`, `attention_mask` and, for families that have them, `token_type_ids`: int64 [batch, length].

    `word_ids`, `sequence_ids` and `offsets` are made when first asked for: most batches are never asked.
    """

    def __init__(self, tensors: dict[str, Tensor], encodings: Sequence[Encoding], padding_side: str) -> None:
        super().__init__(tensors)
        self._encodings = encodings
        self._padding_side = padding_side

    @cached_property
    def word_ids(self) -> list[list[int | None]]:
        """For each row and position, the index of the word in its text; None at special tokens and padding."""
        return [self._padded(encoding.word_ids, None) for encoding in self._encodings]

    @cached_property
    def sequence_ids(self) -> list[list[int | None]]:
        """For each row and position, 0 in the first text and 1 in the second; None at special tokens and padding."""
        return [self._padded(encoding.sequence_ids, None) for encoding in self._encodings]

    @cached_property
    def offsets(self) -> list[list[tuple[int, int]]]:
        """For each row and position, (start, end) in characters of its text; (0, 0) at special tokens and padding.

        In a row of two texts, those of the second count from its own start; in one of given words, from its word's.
        """
        return [self._padded(encoding.offsets, (0, 0)) for encoding in self._encodings]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        return Batch({name: tensor.to(device) for name, tensor in self.items()}, self._encodings, self._padding_side)

    def _padded(self, row: list[T], filler: T) -> list[T]:
        padding = [filler] * (self["input_ids"].shape[1] - len(row))
        return padding + row if self._padding_side == "left" else row + padding


def padded(
    ids: Sequence[npt.ArrayLike],
    type_ids: Sequence[npt.ArrayLike] | None,
    length: int | None,
    pad_token_id: int | None,
    padding_side: str,
) -> dict[str, Tensor]:
    """Pad rows of ids, and of token types where there are any, to `length` (None: to the longest) and stack them.

    Raises InputError where a row is longer than `length`, or where padding is needed and there is no pad token.
    """
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))  # type: ignore[arg-type]
    longest = int(lengths.max(initial=0))
    if length is None:
        length = longest
    elif longest > length:
        raise InputError(f"a row of {longest} tokens does not fit max_length={length}; truncation=True shortens it")
    if pad_token_id is None and (lengths < length).any():
        raise InputError("rows of different lengths need padding, and this tokenizer has no pad token and no end token")

    columns = np.arange(length)
    real = columns >= length - lengths[:, None] if padding_side == "left" else columns < lengths[:, None]

    def stacked(values: Sequence[npt.ArrayLike], filler: int) -> Tensor:
        table = np.full(real.shape, filler, dtype=np.int64)
        table[real] = np.concatenate(values) if longest else 0  # row by row, as boolean indexing goes
        return torch.from_numpy(table)  # [batch, length]

    tensors = {"input_ids": stacked(ids, pad_token_id or 0), "attention_mask": torch.from_numpy(real.astype(np.int64))}
    if type_ids is not None:
        tensors["token_type_ids"] = stacked(type_ids, 0)
    return tensors
