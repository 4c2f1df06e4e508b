"""Which query may look at which key.

Masks are boolean, True = may look, and broadcast over heads: [batch or 1, 1, query or 1, key].
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Either nothing is hidden (all fields empty), or only the future is, or `allowed` says it cell by cell, or `bias`.

    bias   [batch or 1, heads, query, key], of families that score the distance of query and key: is added to the
           scores, -inf where nothing may be seen
    """

    allowed: Tensor | None = None
    causal: bool = False
    bias: Tensor | None = None

    def with_bias(self, bias: Tensor) -> "Mask":
        """`bias` [batch or 1, heads, query, key] and what is hidden here, as one tensor."""
        cells = self.cells(bias.shape[-2], bias.shape[-1], bias.device)
        return Mask(bias=bias if cells is None else bias.masked_fill(~cells, -math.inf))

    def within(self, text_ids: Tensor | None) -> "Mask":
        """The same, but that nobody looks into another text: `text_ids` [batch, length] number the texts of a row.

        None = each row is one text.
        """
        return self if text_ids is None else self.between(text_ids, text_ids)

    def between(self, asking: Tensor, asked: Tensor) -> "Mask":
        """The same, for queries of the texts `asking` [batch, query] and keys of the texts `asked` [batch, key]."""
        same = asking[:, None, :, None] == asked[:, None, None, :]  # [batch, 1, query, key]
        cells = self.cells(same.shape[-2], same.shape[-1], same.device)
        return Mask(allowed=same if cells is None else same & cells)

    def whole(self, queries: int, keys: int, device: torch.device) -> "Mask":  # noqa: ARG002
        """The same for all tokens at once, where a family cuts a long text into pieces."""
        return self

    def cells(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """The mask as an explicit tensor [batch or 1, 1, queries or 1, keys], or None where all is allowed."""
        if self.causal:
            return _lower_triangle(queries, keys, device)
        return self.allowed


def bidirectional_mask(attention_mask: Tensor | None) -> Mask:
    """Hide the padding: `attention_mask` [batch, keys], 1 for text and 0 for padding."""
    if attention_mask is None or _all_ones_on_cpu(attention_mask):
        return Mask()
    real = attention_mask.bool()
    # A row of padding alone has nothing to look at; let it look at itself so that its softmax is not 0/0.
    real = real | ~real.any(-1, keepdim=True)
    return Mask(allowed=real[:, None, None, :])


def causal_mask(attention_mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Mask:
    """Hide the future and the padding.

    `attention_mask` is [batch, keys] or None; `queries` are the last positions of `keys` (fewer where a cache holds
    the beginning).
    """
    if attention_mask is None or _all_ones_on_cpu(attention_mask):
        if queries == 1:
            return Mask()
        return Mask(causal=True) if queries == keys else Mask(allowed=_lower_triangle(queries, keys, device))
    past = _lower_triangle(queries, keys, device)
    # A padded query looks at itself, so that its softmax is not 0/0; nobody looks at a padded query in turn.
    itself = torch.arange(keys - queries, keys, device=device)[:, None] == torch.arange(keys, device=device)
    return Mask(allowed=past & attention_mask.bool()[:, None, None, :] | itself)


def causal_window_mask(
    attention_mask: Tensor | None, queries: int, past: int, window: int, device: torch.device
) -> Mask:
    """Hide the future, the padding, and what stands `window` tokens back or more.

    `attention_mask` is [batch, past + queries] or None. The keys are the queries' own and the `window` - 1 before them,
    or all that there are: nobody looks further back, and a cache need not keep more.
    """
    keys = min(past, window - 1) + queries
    mask = causal_mask(None if attention_mask is None else attention_mask[:, -keys:], queries, keys, device)
    if keys <= window:
        return mask
    allowed = mask.cells(queries, keys, device)
    assert allowed is not None  # there are several queries, and the first does not see the last key
    return Mask(allowed=allowed.triu(diagonal=keys - queries - window + 1))


def window_mask(attention_mask: Tensor | None, length: int, reach: int, device: torch.device) -> Mask:
    """Hide the padding, and what stands more than `reach` tokens away on either side."""
    if length <= reach + 1:
        return bidirectional_mask(attention_mask)
    places = torch.arange(length, device=device)
    near = ((places[:, None] - places).abs() <= reach)[None, None]  # [1, 1, query, key]
    if attention_mask is None or _all_ones_on_cpu(attention_mask):
        return Mask(allowed=near)
    # A padded query looks at itself, as above.
    itself = places[:, None] == places
    return Mask(allowed=near & attention_mask.bool()[:, None, None, :] | itself)


def positions_from_mask(attention_mask: Tensor | None, queries: int, past: int, device: torch.device) -> Tensor:
    """Position ids [batch or 1, queries] that count real tokens only, so that left padding shifts nothing."""
    if attention_mask is None:
        return torch.arange(past, past + queries, device=device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -queries:]


def _lower_triangle(queries: int, keys: int, device: torch.device) -> Tensor:
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.tril(diagonal=keys - queries)[None, None]  # [1, 1, query, key]


def _all_ones_on_cpu(attention_mask: Tensor) -> bool:
    # Asking a GPU tensor would wait for the GPU; there the explicit mask is cheaper than the question. A compiled or
    # exported graph is one for all masks, and cannot ask.
    asks = attention_mask.device.type == "cpu" and not torch.compiler.is_compiling()
    return asks and bool(attention_mask.all())
