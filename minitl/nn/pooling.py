"""Pooling: from the vectors of a text's tokens to one vector for the text.

Each function takes token vectors [batch, length, hidden] and their mask [batch, length], 1 = text and 0 = padding, and
returns [batch, hidden].
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def pool_first(hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    """The first token's vector, BERT's [CLS]; padding stands on the right."""
    return hidden[:, 0]


def pool_last(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last real token's vector: the only one that has seen the whole text in a causal model."""
    return last_real_token(mask, hidden)


def last_real_token(attention_mask: Tensor | None, x: Tensor) -> Tensor:
    """The vector of each row's last real token: x [batch, length, hidden] -> [batch, hidden], padded on either side."""
    if attention_mask is None:
        return x[:, -1]
    length = x.shape[1]
    recent = attention_mask[:, -length:]  # with a cache, x holds the new tokens alone
    last = length - 1 - recent.bool().int().flip(-1).argmax(-1)  # argmax finds the first 1 from the right
    return x[torch.arange(x.shape[0], device=x.device), last]


def pool_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """The highest value of each dimension."""
    return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


def pool_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real tokens' vectors; 0 where there is none."""
    return _weighted_sum(hidden, mask) / mask.sum(-1, keepdim=True).clamp(min=1)


def pool_mean_sqrt_length(hidden: Tensor, mask: Tensor) -> Tensor:
    """Their sum divided by the square root of their number: longer texts get longer vectors."""
    return _weighted_sum(hidden, mask) / mask.sum(-1, keepdim=True).sqrt()


def pool_weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean with weights 1, 2, 3 … along the text (Muennighoff 2022, arXiv:2202.08904, section 3.1)."""
    weights = mask.cumsum(-1) * mask
    return _weighted_sum(hidden, weights) / weights.sum(-1, keepdim=True)


def _weighted_sum(hidden: Tensor, weights: Tensor) -> Tensor:
    return (weights[:, None].to(hidden.dtype) @ hidden)[:, 0]  # [batch, 1, length] @ [batch, length, hidden]


# Published name, the switch that older files have for it, and the function; several at once are joined in this order.
POOLINGS: tuple[tuple[str, str, Callable[[Tensor, Tensor], Tensor]], ...] = (
    ("cls", "pooling_mode_cls_token", pool_first),
    ("max", "pooling_mode_max_tokens", pool_max),
    ("mean", "pooling_mode_mean_tokens", pool_mean),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", pool_mean_sqrt_length),
    ("weightedmean", "pooling_mode_weightedmean_tokens", pool_weighted_mean),
    ("lasttoken", "pooling_mode_lasttoken", pool_last),
)


class Pooling(nn.Module):
    """From token vectors to a text vector; where several ways are named, their results are joined end to end."""

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        functions = {name: function for name, _, function in POOLINGS}
        self.modes = tuple(modes)
        self._functions = [functions[mode] for mode in modes]

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:  # -> [batch, modes · hidden]
        return torch.cat([function(hidden, mask) for function in self._functions], dim=-1)
