"""Multi-head attention (Vaswani et al. 2017, section 3.2).

    x ─┬─ query ─┐
       ├─ key ───┴─ scores = QKᵀ · scale ─ mask ─ softmax ─ dropout ─┐
       └─ value ─────────────────────────────────────────────────────┴─ ·V ─ output ─►

`attend` is the middle of the picture and is the same in every family. The classes differ in how queries, keys and
values are made from x; `local_attention.py` has one that also looks at fewer keys.
"""

import math
from collections.abc import Callable

import torch.nn.functional as F
from minitl_kernels import dropout
from torch import Tensor, nn

from minitl.nn.cache import LayerCache
from minitl.nn.masks import Mask
from minitl.nn.positions import rotate


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
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
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
    scores = (query * scale) @ key.transpose(-1, -2)  # [batch, heads, query, key]
    if mask.bias is not None:
        scores = scores + mask.bias
    allowed = mask.cells(query.shape[2], key.shape[2], query.device)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(dim=-1)
    context = dropout(weights, dropout_p, training=True) @ value
    return context, weights if want_weights else None


class Attention(nn.Module):
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
        if cache is not None:
            key, value = cache.append(key, value)
        context, weights = self.attend(query, key, value, mask, want_weights)
        return self.output(context.transpose(1, 2).flatten(2)), weights

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The middle of the picture, with this layer's scale and dropout."""
        dropout_p = self.dropout_p if self.training else 0.0
        return attend(query, key, value, mask, self.scale, dropout_p, want_weights)

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
