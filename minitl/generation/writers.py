"""A model that writes: what it has read stays in its cache, and each call asks what may come next.

    ids ─ encode ─► last position ─ head ─► scores of the next token
            ▲
            └─ keys and values of all earlier tokens (and of the source), from the cache

Only the last position goes through the head: the scores of the others would be thrown away.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.nn.embeddings import as_ids
from minitl.nn.output import Output


class Writer(Protocol):
    """What greedy, sampled and beam decoding ask of a model.

    prompt   [batch, length], what every text begins with
    parts    what runs for every token
    """

    prompt: Tensor
    parts: tuple[nn.Module, ...]

    def next_scores(self, ids: Tensor) -> Tensor:
        """Read what is new of `ids` [rows, length]; the scores of the next token, float32 [rows, vocabulary]."""

    def select(self, rows: Tensor) -> None:
        """Go on with the texts `rows`: for each text to come, which of the present ones it continues."""

    def real(self, length: int) -> Tensor | None:
        """Which of the first `length` ids are text, bool [rows, length]; None = all."""


class DecoderWriter:
    """A causal model continues its prompts, which are padded on the left."""

    def __init__(self, model: Model, input_ids: Tensor, attention_mask: Tensor | None, max_new_tokens: int) -> None:
        self.model = model
        self.prompt = _texts(input_ids)
        self.mask = grown_mask(self.prompt, attention_mask, max_new_tokens)
        batch, length = self.prompt.shape
        longest = length if self.mask is None else int(self.mask[:, :length].sum(-1).max())
        _check_room(model, f"a prompt of {longest} tokens", longest, max_new_tokens)
        self.cache = model.new_cache(batch, length + max_new_tokens)
        self.parts: tuple[nn.Module, ...] = (model,)

    def next_scores(self, ids: Tensor) -> Tensor:
        new = ids[:, self.cache.length :]  # first the whole prompt, later one token
        hidden = self.model.encode(new, self.real(ids.shape[1]), cache=self.cache).last_hidden_state[:, -1:]
        return _scores(self.model, hidden)

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)
        if self.mask is not None:
            self.mask = self.mask[rows]

    def real(self, length: int) -> Tensor | None:
        return None if self.mask is None else self.mask[:, :length]


class EncoderDecoderWriter:
    """An encoder reads the sources once, a decoder writes from its start token on."""

    def __init__(
        self,
        model: EncoderDecoder,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        max_new_tokens: int,
        start: int | None = None,
    ) -> None:
        self.model = model
        self.source, self.mask = _texts(input_ids), attention_mask
        batch, length = self.source.shape
        if attention_mask is not None:
            _check_mask(self.source, attention_mask)
        model.check_length(length, attention_mask, "source")
        self.prompt = self.source.new_full((batch, 1), model.start_token if start is None else start)
        _check_room(model, "the start token", 1, max_new_tokens)
        self.cache = model.new_cache(batch, 1 + max_new_tokens)
        assert model.decoder is not None  # a head that writes needs it
        self.parts: tuple[nn.Module, ...] = (model.decoder, model.head)

    def next_scores(self, ids: Tensor) -> Tensor:
        new = ids[:, self.cache.length :]
        output = self.model.encode(self.source, self.mask, decoder_input_ids=new, cache=self.cache)
        return _scores(self.model, output.last_hidden_state[:, -1:])

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)

    def real(self, length: int) -> Tensor | None:  # noqa: ARG002 - what a decoder writes has no padding
        return None


def _scores(model: Model, hidden: Tensor) -> Tensor:  # [rows, 1, hidden] -> [rows, vocabulary]
    logits = model.head(Output(hidden), None).logits[:, -1]
    return logits.float()


def _texts(input_ids: Tensor) -> Tensor:
    ids = as_ids(input_ids).long()
    if len(ids) == 0:
        raise InputError("input_ids holds no text: a batch needs at least one row")
    return ids


def grown_mask(prompt: Tensor, attention_mask: Tensor | None, max_new_tokens: int) -> Tensor | None:
    """The attention mask of prompt and continuation, bool [batch, prompt + new]; None where nothing is padded.

    InputError where a row does not consist of padding, then text: the continuation has to follow the text.
    """
    if attention_mask is None:
        return None
    _check_mask(prompt, attention_mask)
    real = attention_mask.to(prompt.device).bool()
    gap = (real[:, :-1] & ~real[:, 1:]).any(-1)
    if gap.any():
        raise InputError(
            f"row {int(gap.nonzero()[0])} has padding after its text: pad prompts on the left "
            '(tokenizer.padding_side = "left")'
        )
    return None if real.all() else torch.cat((real, real.new_ones(len(real), max_new_tokens)), dim=1)


def _check_mask(ids: Tensor, attention_mask: Tensor) -> None:
    """InputError for another shape than the ids', or a text of nothing but padding."""
    if attention_mask.shape != ids.shape:
        raise InputError(
            f"attention_mask must be [batch, length] like input_ids, {list(ids.shape)}, "
            f"got {list(attention_mask.shape)}"
        )
    empty = ~attention_mask.bool().any(-1)
    if empty.any():
        raise InputError(f"the text of row {int(empty.nonzero()[0])} is empty: attention_mask hides all of it")


def _check_room(model: Model, what: str, length: int, max_new_tokens: int) -> None:
    """InputError where `length` tokens and those to come are more than the model has positions for."""
    limit = model.position_limit
    if limit is not None and length + max_new_tokens > limit:
        raise InputError(
            f"{what} and max_new_tokens={max_new_tokens} make {length + max_new_tokens}; "
            f"this {model.config.model_type} model has positions for {limit}"
        )
