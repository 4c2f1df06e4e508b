"""Examples of one text, or of a pair of texts, as rows with a label: what classification and regression share."""

from collections.abc import Sequence
from dataclasses import dataclass

from minitl.data import Example
from minitl.tokenization import Row, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRow:
    """A tokenised text with the example's label."""

    row: Row
    label: int | float | None

    @property
    def length(self) -> int:
        return self.row.length


def labelled_rows(tokenizer: Tokenizer, examples: Sequence[Example], max_length: int) -> list[LabelledRow]:
    """Tokenise `examples`, each cut to `max_length` tokens; where one has a pair, all are read as pairs."""
    texts = [example.text for example in examples]
    paired = any(example.pair is not None for example in examples)
    pairs = [example.pair or "" for example in examples] if paired else None
    rows = tokenizer.rows(texts, pairs, max_length=max_length)
    return [LabelledRow(row, example.label) for row, example in zip(rows, examples, strict=True)]
