"""Attention that looks back over a window: each token sees itself and the `window` - 1 tokens before it (Jiang et al.
2023, arXiv:2310.06825, section 2).

    keys       ···············
    strip 0    ■■■■                  queries of four tokens each, and the keys that some of them see
    strip 1    ■■■■■■■■
    strip 2        ■■■■■■■■

In a long text most scores would be computed only to be hidden. Cut into strips of queries that look at what they see
and nothing else, time and memory grow with the length and not with its square.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.nn.attention import SelfAttention
from minitl.nn.masks import Mask, causal_window_mask

STRIP = 512  # queries: enough to keep a processor busy, few enough to see little beyond a window


class Strip(NamedTuple):
    """Some consecutive queries, the keys that they look at, and the mask between the two."""

    queries: slice
    keys: slice
    mask: Mask


@dataclass(frozen=True, kw_only=True)
class StripMask(Mask):
    """The mask of a text with more queries than one strip has. Only `SlidingSelfAttention` knows how to read it."""

    strips: tuple[Strip, ...]

    def within(self, text_ids: Tensor | None) -> Mask:
        if text_ids is None:
            return self
        parts = ((strip, text_ids[:, strip.queries], text_ids[:, strip.keys]) for strip in self.strips)
        return StripMask(strips=tuple(s._replace(mask=s.mask.between(asking, asked)) for s, asking, asked in parts))

    def whole(self, queries: int, keys: int, device: torch.device) -> Mask:
        parts = [
            (rows, seen, mask.cells(rows.stop - rows.start, seen.stop - seen.start, device))
            for rows, seen, mask in self.strips
        ]
        batch = max(1 if cells is None else cells.shape[0] for *_, cells in parts)
        allowed = torch.zeros(batch, 1, queries, keys, dtype=torch.bool, device=device)
        for rows, seen, cells in parts:
            allowed[:, :, rows, seen] = True if cells is None else cells
        return Mask(allowed=allowed)


def sliding_mask(attention_mask: Tensor | None, queries: int, past: int, window: int, device: torch.device) -> Mask:
    """The mask of `causal_window_mask`, in strips where that leaves out keys: in long texts."""
    kept = min(past, window - 1)
    if queries <= STRIP or kept + queries <= window:
        return causal_window_mask(attention_mask, queries, past, window, device)
    strips: list[Strip] = []
    for start in range(0, queries, STRIP):
        stop = min(start + STRIP, queries)
        # A strip is a chunk of the text, which knows what was read before it.
        known = None if attention_mask is None else attention_mask[:, : past + stop]
        mask = causal_window_mask(known, stop - start, past + start, window, device)
        strips.append(Strip(slice(start, stop), slice(max(0, kept + start - window + 1), kept + stop), mask))
    return StripMask(strips=tuple(strips))


class SlidingSelfAttention(SelfAttention):
    """Self-attention under a mask of `sliding_mask`: of a StripMask strip by strip, with the numbers of the whole."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        if not isinstance(mask, StripMask):
            return super().attend(query, key, value, mask, want_weights)
        contexts: list[Tensor] = []
        maps: list[Tensor] = []
        for rows, keys, allowed in mask.strips:
            parts = query[:, :, rows], key[:, :, keys], value[:, :, keys]
            context, weights = super().attend(*parts, allowed, want_weights)
            contexts.append(context)
            if weights is not None:
                maps.append(F.pad(weights, (keys.start, key.shape[2] - keys.stop)))
        return torch.cat(contexts, dim=2), torch.cat(maps, dim=2) if want_weights else None
