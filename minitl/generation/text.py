"""From a stream of tokens to a stream of text."""

from minitl.tokenization import Tokenizer


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
