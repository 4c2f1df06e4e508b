"""Attention of a decoder to the source that an encoder has read (Vaswani et al. 2017, section 3.2.3).

target ─ query ──────────┐
source ─┬─ key ──────────┴─ scores ─ mask ─ softmax ─ dropout ─┐
        └─ value ──────────────────────────────────────────────┴─ ·V ─ output ─►
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from minitl.nn.attention import Attending
from minitl.nn.cache import SourceCache
from minitl.nn.masks import Mask


@dataclass(frozen=True)
class Source:
    """What a decoder looks at.

    states   [batch, source, hidden], the encoder's output
    mask     hides its padding
    """

    states: Tensor
    mask: Mask


class CrossAttention(Attending):
    """Queries from the target, keys and values from the source.

    head_dim   size of one head; None = hidden / heads
    scale      factor on the scores; None = 1 / sqrt(head_dim)
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        dropout_p: float,
        head_dim: int | None = None,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim or hidden // heads
        self.dropout_p = dropout_p
        self.scale = 1 / math.sqrt(self.head_dim) if scale is None else scale
        self.query = nn.Linear(hidden, heads * self.head_dim, bias=bias)
        self.key = nn.Linear(hidden, heads * self.head_dim, bias=bias)
        self.value = nn.Linear(hidden, heads * self.head_dim, bias=bias)
        self.output = nn.Linear(heads * self.head_dim, hidden, bias=bias)

    def forward(
        self, x: Tensor, source: Source, want_weights: bool = False, cache: SourceCache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x [rows, target, hidden] -> the same shape, and the attention map [rows, heads, target, source] if wanted.

        rows    the batch, or a multiple of it: several continuations of each source, next to each other
        cache   the source's keys and values, which are computed once
        """
        if cache is None or cache.content is None:
            key = self.tap("key_heads", self._split(self.key(source.states)))
            value = self.tap("value_heads", self._split(self.value(source.states)))
            if cache is not None:
                cache.content = key, value
        else:
            key, value = cache.content
        # Continuations of one source look at it like so many tokens of one text: nothing is repeated for them.
        together = x.reshape(key.shape[0], -1, x.shape[-1])  # [batch, continuations · target, hidden]
        query = self.tap("query_heads", self._split(self.query(together)))
        context, weights = self.look(query, key, value, source.mask, want_weights)
        attended = self.output(context.transpose(1, 2).flatten(2)).reshape(x.shape)
        if weights is not None:
            weights = weights.unflatten(2, (-1, x.shape[1])).transpose(1, 2).flatten(0, 1)
        return attended, weights

    def _split(self, x: Tensor) -> Tensor:  # [batch, length, heads · head_dim] -> [batch, heads, length, head_dim]
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
