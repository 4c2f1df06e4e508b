"""What a model returns, and how the per-layer tensors are collected on the way."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Output:
    """The result of a forward pass; a field is None where the model or the task has none of it.

    last_hidden_state          [batch, length, hidden]    after the last layer and the final norm, if there is one
    pooler_output              [batch, hidden]            one vector per text
    logits                     [batch, classes] or [batch, length, classes or vocabulary]; [asked, vocabulary] of a
                               language model that was asked about some tokens
    start_logits, end_logits   [batch, length]            where an extracted answer begins and ends
    hidden_states              layers + 1 tensors like last_hidden_state, embeddings first
    attentions                 one tensor a layer, [batch, heads, query, key], rows sum to 1

    Of an encoder-decoder, the fields above are the decoder's, and there are also
    encoder_last_hidden_state  [batch, source, hidden]    what the decoder looks at
    encoder_hidden_states, encoder_attentions             as above
    cross_attentions           one tensor a decoder layer, [batch, heads, target, source], rows sum to 1
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    logits: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None

    def with_(self, **changes: Any) -> "Output":
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def items(self) -> list[tuple[str, Any]]:
        """The fields that are present, as (name, value) pairs."""
        return [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None]


torch.export.register_dataclass(Output, serialized_type_name="minitl.Output")  # an exported program returns one too


class Recorder:
    """Collects hidden states and attention maps, only where they were asked for, so that the others can be freed."""

    def __init__(self, hidden_states: bool, attentions: bool) -> None:
        self.wants_attentions = attentions
        self._hidden: list[Tensor] | None = [] if hidden_states else None
        self._attentions: list[Tensor] | None = [] if attentions else None
        self._cross: list[Tensor] | None = [] if attentions else None

    def hidden(self, x: Tensor) -> None:
        """Note `x` [batch, length, hidden]: the embeddings first, then what each layer put out."""
        if self._hidden is not None:
            self._hidden.append(x)

    def attention(self, weights: Tensor | None) -> None:
        """Note one layer's attention map [batch, heads, query, key]."""
        if self._attentions is not None and weights is not None:
            self._attentions.append(weights)

    def cross_attention(self, weights: Tensor | None) -> None:
        """Note the map of one decoder layer's look at the source, [batch, heads, target, source]."""
        if self._cross is not None and weights is not None:
            self._cross.append(weights)

    def normed(self, x: Tensor) -> None:
        """Replace the last hidden state by its final-norm version `x`, as the published outputs count it."""
        if self._hidden is not None:
            self._hidden[-1] = x

    @property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        return None if self._hidden is None else tuple(self._hidden)

    @property
    def attentions(self) -> tuple[Tensor, ...] | None:
        return None if self._attentions is None else tuple(self._attentions)

    @property
    def cross_attentions(self) -> tuple[Tensor, ...] | None:
        return None if self._cross is None else tuple(self._cross)
