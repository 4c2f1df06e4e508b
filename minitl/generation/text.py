"""From a stream of tokens to a stream of text."""

from collections.abc import Iterator
from typing import Any

from minitl.generation.generate import stream
from minitl.models.base import Model
from minitl.tokenization import Tokenizer


def stream_text(model: Model, tokenizer: Tokenizer, text: str, **options: Any) -> Iterator[str]:
    """What `generate` writes to one text, piece by piece as it comes; of a causal model, the prompt comes first.

    options   `generate`'s, but for num_beams; errors as there
    """
    batch, pieces = tokenizer([text]).to(next(model.parameters()).device), TextStream(tokenizer)
    tokens = stream(model, batch["input_ids"], batch["attention_mask"], tokenizer=tokenizer, **options)
    if model.task == "causal-lm":
        pieces.read(batch["input_ids"][0].tolist())
    return _pieces(tokens, pieces)


def _pieces(tokens: Iterator[Any], pieces: "TextStream") -> Iterator[str]:
    for token in tokens:
        if piece := pieces.push(int(token[0])):
            yield piece
    if rest := pieces.close():
        yield rest


class TextStream:
    """Decodes one text as its tokens come; a character whose bytes are not all there yet is held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = ""

    def read(self, ids: list[int]) -> None:
        """Take in a prompt, which comes out with the first token that is pushed."""
        self._ids += ids

    def push(self, token: int) -> str:
        """What `token` adds to the text; "" where that cannot be told yet."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return "" if text.endswith("\ufffd") else self._new(text)

    def close(self) -> str:
        """What was held back."""
        return self._new(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _new(self, text: str) -> str:
        # A decoder may change what stands at the end, e.g. strip a space: only what extends the text is shown.
        new = text[len(self._shown) :] if text.startswith(self._shown) else ""
        self._shown = text if new else self._shown
        return new
