"""Multi-head attention (Vaswani et al. 2017, section 3.2).

    x ─┬─ query ─┐
       ├─ key ───┴─ scores = QKᵀ · scale ─ mask ─ softmax ─ dropout ─┐
       └─ value ─────────────────────────────────────────────────────┴─ ·V ─ output ─►

`attend` is the middle of the picture and is the same in every family. The classes differ in how queries, keys and
values are made from x; `local_attention.py` has one that also looks at fewer keys.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from minitl_kernels import dropout
from torch import Tensor, nn

from minitl.nn.cache import LayerCache
from minitl.nn.masks import Mask
from minitl.nn.positions import rotate
from minitl.nn.tapped import Tapped


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask,
    scale: float,
    dropout_p: float,
    want_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    """softmax(QKᵀ · scale + mask) V, and the weights if they are wanted.

    query [batch, heads, queries, head_dim]; key, value [batch, kv_heads, keys, head_dim], where kv_heads divides heads
    and consecutive heads share one key-value head (grouped-query attention, Ainslie et al. 2023).
    Returns [batch, heads, queries, head_dim] and [batch, heads, queries, keys] or None; both paths give the same
    numbers.
    """
    batch, heads, queries, _ = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    if groups > 1 and queries == 1:
        # To a single token, the heads of a group are so many queries of their one key-value head, and no key is copied.
        query = query.reshape(batch, kv_heads, groups, -1)
        if mask.bias is not None:
            mask = Mask(bias=mask.bias.reshape(-1, kv_heads, groups, mask.bias.shape[-1]))
        context, weights = attend(query, key, value, mask, scale, dropout_p, want_weights)
        return context.reshape(batch, heads, 1, -1), None if weights is None else weights.reshape(batch, heads, 1, -1)
    if groups > 1:
        key, value = _for_each_head(key, heads), _for_each_head(value, heads)
    # The fused CPU kernel has no dropout, and PyTorch's way around it is slower than ours.
    dropout_on_cpu = dropout_p > 0 and query.device.type == "cpu"
    if want_weights or dropout_on_cpu:
        return _attend_in_the_open(query, key, value, mask, scale, dropout_p, want_weights)
    added = mask.allowed if mask.bias is None else mask.bias
    context = F.scaled_dot_product_attention(
        query, key, value, attn_mask=added, dropout_p=dropout_p, is_causal=mask.causal, scale=scale
    )
    return context, None


def _attend_in_the_open(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask,
    scale: float,
    dropout_p: float,
    want_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    weights = _scores(query, key, mask, scale).softmax(dim=-1)
    context = dropout(weights, dropout_p, training=True) @ value
    return context, weights if want_weights else None


def _scores(query: Tensor, key: Tensor, mask: Mask, scale: float) -> Tensor:
    """QKᵀ · scale + mask, [batch, heads, query, key]; -inf where nothing may be seen."""
    scores = (query * scale) @ key.transpose(-1, -2)
    if mask.bias is not None:
        scores = scores + mask.bias
    allowed = mask.cells(query.shape[2], key.shape[2], query.device)
    return scores if allowed is None else scores.masked_fill(~allowed, -math.inf)


def _for_each_head(x: Tensor, heads: int) -> Tensor:
    """[batch, kv_heads, ...] -> [batch, heads, ...]: each of consecutive heads its own copy of what they share."""
    return x.repeat_interleave(heads // x.shape[1], dim=1)


class Attending(Tapped):
    """The middle of the picture as a module's: with its scale and dropout, and with its points shown.

    scale       factor on the scores
    dropout_p   of the attention weights
    """

    points = ("query_heads", "key_heads", "value_heads", "scores", "weights", "context")
    scale: float
    dropout_p: float

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`attend` of this module. A family that looks at fewer keys has another way of it."""
        return attend(query, key, value, mask, self.scale, self._dropout_now, want_weights)

    def look(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`attend`, with the points shown to whoever watches."""
        shows_map = "scores" in self.watchers or "weights" in self.watchers
        way = self._attend_watched if shows_map else self.attend
        context, weights = way(query, key, value, mask, want_weights)
        return self.tap("context", context), weights

    def _attend_watched(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The same numbers, to the bit, unless a watcher changes them: what is shown is computed beside the fused
        kernel, from which it differs by rounding, and carries the gradient in its place."""
        heads = query.shape[1]
        whole = mask.whole(query.shape[2], key.shape[2], query.device)
        scores = _scores(query, _for_each_head(key, heads), whole, self.scale)
        used = self.tap("scores", scores)
        weights = used.softmax(dim=-1)
        spread = self.tap("weights", weights)
        values = _for_each_head(value, heads)
        if used is not scores or spread is not weights or self._dropout_now > 0:
            return dropout(spread, self._dropout_now, training=True) @ values, spread if want_weights else None
        with torch.no_grad():
            context, kept = self.attend(query, key, value, mask, want_weights)
        if not torch.is_grad_enabled():
            return context, kept
        shown = spread @ values
        return context + (shown - shown.detach()), None if kept is None else kept + (spread - spread.detach())

    @property
    def _dropout_now(self) -> float:
        return self.dropout_p if self.training else 0.0


class Attention(Attending):
    """What the variants share: split into heads, turn, remember, attend, merge. A subclass says how `project` works.

    heads, kv_heads   number of query heads, and of key-value heads that they share
    head_dim          size of one head; heads · head_dim need not be the hidden size
    scale             factor on the scores; None = 1 / sqrt(head_dim)
    """

    output: nn.Linear
    # x [batch, length, hidden] -> query [batch, length, heads · head_dim], key and value [..., kv_heads · head_dim]
    project: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

    def __init__(self, heads: int, kv_heads: int, head_dim: int, dropout_p: float, scale: float | None = None) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.dropout_p = dropout_p
        self.scale = 1 / math.sqrt(head_dim) if scale is None else scale

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        want_weights: bool = False,
        turn: tuple[Tensor, Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x [batch, length, hidden] -> the same shape, and the attention map [batch, heads, length, keys] if wanted.

        turn    cos and sin of `RotaryPositions`, for families that mark positions by rotation
        cache   the layer's keys and values so far; x then holds only the new tokens
        """
        query, key, value = self.project(x)
        query = self._split(query, self.heads)  # [batch, heads, length, head_dim]
        key, value = self._split(key, self.kv_heads), self._split(value, self.kv_heads)
        if turn is not None:
            query, key = rotate(query, *turn), rotate(key, *turn)
        query, key, value = self.tap("query_heads", query), self.tap("key_heads", key), self.tap("value_heads", value)
        if cache is not None:
            key, value = cache.append(key, value)
        context, weights = self.look(query, key, value, mask, want_weights)
        return self.output(context.transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)


class SelfAttention(Attention):
    """Three separate projections: BERT's `query`, `key`, `value`; Llama's `q_proj`, `k_proj`, `v_proj`."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        dropout_p: float,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        kv_heads, head_dim = kv_heads or heads, head_dim or hidden // heads
        super().__init__(heads, kv_heads, head_dim, dropout_p, scale)
        self.query = nn.Linear(hidden, heads * head_dim, bias=bias)
        self.key = nn.Linear(hidden, kv_heads * head_dim, bias=bias)
        self.value = nn.Linear(hidden, kv_heads * head_dim, bias=bias)
        self.output = nn.Linear(heads * head_dim, hidden, bias=bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(x), self.value(x)


class FusedSelfAttention(Attention):
    """One projection for all three, as GPT-2's `c_attn` and ModernBERT's `Wqkv` are stored: queries, then keys, then
    values along the output."""

    def __init__(
        self, hidden: int, heads: int, dropout_p: float, scale: float | None = None, bias: bool = True
    ) -> None:
        super().__init__(heads, heads, hidden // heads, dropout_p, scale)
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.output = nn.Linear(hidden, hidden, bias=bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        return query, key, value
