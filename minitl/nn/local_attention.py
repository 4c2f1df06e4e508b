"""Attention to a neighbourhood: each token looks at most `reach` tokens to either side (Beltagy et al. 2020,
arXiv:2004.05150, section 3.1).

    keys        │ block 0 │ block 1 │ block 2 │ block 3 │ …
                     └─────────┼─────────┘
    queries     │ block 0 │ block 1 │ block 2 │ block 3 │ …

In a long text most scores would be computed only to be hidden. Cut into blocks of `reach` tokens, no query sees beyond
the two blocks beside its own: every block of queries then attends to three blocks of keys, as a text of its own, and
time and memory grow with the length and not with its square.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.nn.attention import FusedSelfAttention
from minitl.nn.masks import Mask, window_mask


@dataclass(frozen=True, kw_only=True)
class BlockMask(Mask):
    """`allowed` [batch · blocks, 1, size, 3 · size]: what a block's queries may look at in the three blocks of keys.

    attention_mask, reach   of the text that was cut
    """

    size: int
    reach: int
    attention_mask: Tensor | None

    def whole(self, queries: int, keys: int, device: torch.device) -> Mask:  # noqa: ARG002
        return window_mask(self.attention_mask, queries, self.reach, device)


def local_mask(attention_mask: Tensor | None, batch: int, length: int, reach: int, device: torch.device) -> Mask:
    """The mask of `window_mask`, cut into blocks where that leaves out keys: in texts longer than three blocks."""
    size = max(reach, 1)
    if length <= 3 * size:
        return window_mask(attention_mask, length, reach, device)
    real = torch.ones(batch, length, device=device) if attention_mask is None else attention_mask
    real = _with_neighbours(real.bool(), size)  # [batch · blocks, key]; what stands beyond the text's ends is not real
    distance = torch.arange(3 * size, device=device) - torch.arange(size, 2 * size, device=device)[:, None]
    near = distance.abs() <= reach  # [query, key]
    # A padded query looks at itself, so that its softmax is not 0/0; nobody looks at a padded query in turn.
    return BlockMask(
        allowed=(near & real[:, None] | (distance == 0))[:, None], size=size, reach=reach, attention_mask=attention_mask
    )


class LocalSelfAttention(FusedSelfAttention):
    """Self-attention under a mask of `local_mask`: under a BlockMask block by block, with the numbers of the whole."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        if not isinstance(mask, BlockMask):
            return super().attend(query, key, value, mask, want_weights)
        assert not want_weights  # a map of all tokens needs the whole mask
        batch, _, length, _ = query.shape
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # [batch, length, heads, head_dim]
        query = _blocks(query, mask.size).flatten(0, 1)  # [batch · blocks, size, heads, head_dim]
        key, value = _with_neighbours(key, mask.size), _with_neighbours(value, mask.size)  # [..., 3 · size, ...]
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        context, _ = super().attend(query, key, value, mask, False)  # [batch · blocks, heads, size, head_dim]
        context = context.transpose(1, 2).unflatten(0, (batch, -1)).flatten(1, 2)  # [batch, blocks · size, heads, ...]
        return context[:, :length].transpose(1, 2), None


def _blocks(x: Tensor, size: int, around: int = 0) -> Tensor:
    """[batch, length, ...] -> [batch, blocks, size, ...], zeros at the end; `around` empty blocks on either side."""
    before, after = around * size, around * size + -x.shape[1] % size
    return F.pad(x, (0, 0) * (x.dim() - 2) + (before, after)).unflatten(1, (-1, size))


def _with_neighbours(x: Tensor, size: int) -> Tensor:
    """[batch, length, ...] -> [batch · blocks, 3 · size, ...]: each block between the one before and the one after."""
    blocks = _blocks(x, size, around=1)
    return torch.cat((blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:]), dim=2).flatten(0, 1)
