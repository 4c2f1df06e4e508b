"""Prompts that are too long: the text is cut, never what asks about it."""

from collections.abc import Callable

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.prompting.scorer import P
from minitl.tokenization import Tokenizer


def room(model: Model, tokenizer: Tokenizer, max_length: int | None) -> int | None:
    """How many tokens a prompt may have, its answer included: `max_length`, else what model and tokenizer allow.

    None = any number. InputError where more is asked for than the model has positions.
    """
    positions = model.position_limit
    if max_length is None:
        return min((n for n in (positions, tokenizer.model_max_length) if n is not None), default=None)
    if max_length < 1 or (positions is not None and max_length > positions):
        raise InputError(f"max_length {max_length}: expected 1 to {positions or 'any number'}, this model's positions")
    return max_length


def fit(text: str, read: Callable[[str], P], tokenizer: Tokenizer, limit: int | None) -> P:
    """The prompt that `read` makes of `text`, of which as much is cut off as is too long for `limit` tokens.

    It is cut on the tokenizer's truncation_side, between tokens and characters. InputError where nothing of it is left
    and the rest is still too long.
    """
    prompt = read(text)
    while limit is not None and prompt.tokens > limit:
        if not text:
            raise without_room(prompt.tokens, limit)
        text = _shortened(text, prompt.tokens - limit, tokenizer)
        prompt = read(text)
    return prompt


def without_room(tokens: int, limit: int | None) -> InputError:
    """What is wrong with a prompt that takes so many `tokens` without any text."""
    return InputError(
        f"the template, with its examples and the longest label, takes {tokens} tokens without any text; there is room "
        f"for {limit}"
    )


def _shortened(text: str, excess: int, tokenizer: Tokenizer) -> str:
    """`text` without its last (or first) `excess` tokens; by a character at least."""
    batch = tokenizer(text, truncation=False)
    spans = [span for span, word in zip(batch.offsets[0], batch.word_ids[0], strict=True) if word is not None]
    if excess >= len(spans):
        return ""
    if tokenizer.truncation_side == "left":
        shorter = text[spans[excess - 1][1] :].lstrip()
        return shorter if len(shorter) < len(text) else text[1:]
    shorter = text[: spans[-excess][0]].rstrip()
    return shorter if len(shorter) < len(text) else text[:-1]
