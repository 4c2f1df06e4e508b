"""What the classifier asks of each kind of model, and what the kinds share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tokenization import Tokenizer

NEUTRAL = "N/A"  # a text that says nothing, where only the rest of a prompt matters
UNCUT = 2**31  # more tokens than any text has: a prompt is cut by its text alone (`fitting`), never by the tokenizer


@dataclass(frozen=True)
class Wording:
    """How the question is put.

    words       label -> what stands for it in the prompt, or how it is answered
    template    with slots; None = the scorer's own
    examples    (text, label) pairs that the prompt shows, answered, before it asks
    separator   stands after each of them
    """

    words: dict[str, str]
    template: str | None = None
    examples: Sequence[tuple[str, str]] = ()
    separator: str = "\n\n"


class Prompt(Protocol):
    """A text as a scorer reads it."""

    @property
    def tokens(self) -> int:
        """How many positions the longest row that is made of it takes."""


P = TypeVar("P", bound=Prompt)


class Scorer(Protocol[P]):
    """One kind of model: how a text is read, and what speaks for each label.

    calibrates   whether its answers carry a preference of their own that is usually taken out
    """

    calibrates: bool

    def read(self, text: str) -> P:
        """The prompt for one text, which is cut where it is too long."""

    def logits(self, prompts: Sequence[P]) -> Tensor:
        """float32 [prompts, labels], in the order of the words: their softmax is the answer."""


def encode(tokenizer: Tokenizer, texts: Sequence[str], as_target: bool = False) -> list[list[int]]:
    """The ids of each text, or of what a model is to write, with the tokenizer's special tokens, uncut."""
    return tokenizer.encode(texts, max_length=UNCUT, as_target=as_target)


def padded(rows: Sequence[Sequence[int]], side: str, filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows as one tensor of ids, and which of them are real: int64 and bool, [rows, longest]."""
    ids = torch.full((len(rows), max(map(len, rows))), filler)
    real = torch.zeros_like(ids, dtype=torch.bool)
    for row, values in enumerate(rows):
        place = slice(ids.shape[1] - len(values), None) if side == "left" else slice(len(values))
        ids[row, place], real[row, place] = torch.tensor(values, dtype=torch.long), True
    return ids.to(device), real.to(device)


def log_probabilities(model: Model, hidden: Tensor) -> Tensor:
    """What a language model's head makes of `hidden` [..., length, hidden]: float32 [..., length, vocabulary]."""
    logits = model.head(Output(hidden), None).logits
    return logits.float().log_softmax(-1)


def device_of(model: Model) -> torch.device:
    return next(model.parameters()).device


def common(*rows: Sequence[int]) -> int:
    """How many first ids all rows have in common."""
    alike = (len(set(ids)) == 1 for ids in zip(*rows, strict=False))
    return next((place for place, same in enumerate(alike) if not same), min(map(len, rows)))


def check_known(words: Sequence[str], tokens: Sequence[Sequence[int]], unknown: int | None) -> None:
    """InputError where one of `words` has the token `unknown`: it says nothing of which word it was."""
    for word, own in zip(words, tokens, strict=True):
        if unknown in own:
            raise InputError(f"the words {word!r} are not in this tokenizer's vocabulary")


def check_distinct(words: Sequence[str], tokens: Sequence[Sequence[int]]) -> None:
    """InputError where two of `words` come to the same `tokens`: no model could tell them apart."""
    for i, own in enumerate(tokens):
        first = tokens.index(own)
        if first < i:
            raise InputError(f"the words {words[first]!r} and {words[i]!r} are the same tokens to this tokenizer")
