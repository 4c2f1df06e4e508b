"""Attention to a source against the formula, with and without its cache, for one continuation and for several."""

import math

import pytest
import torch
from torch import Tensor

from minitl.nn.cache import SourceCache
from minitl.nn.cross_attention import CrossAttention, Source
from minitl.nn.masks import bidirectional_mask

MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])


def by_hand(layer: CrossAttention, x: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Head by head and row by row, of the real tokens alone; x has one row for each of the source."""
    contexts, maps = torch.zeros(2, x.shape[1], 6), torch.zeros(2, 3, x.shape[1], 5)
    for row, real in enumerate(MASK.bool()):
        query, key, value = layer.query(x[row]), layer.key(states[row, real]), layer.value(states[row, real])
        for head in range(3):
            part = slice(2 * head, 2 * head + 2)
            weights = (query[:, part] @ key[:, part].T / math.sqrt(2)).softmax(-1)
            maps[row, head][:, real] = weights
            contexts[row, :, part] = weights @ value[:, part]
    return layer.output(contexts), maps


@pytest.mark.parametrize("want_weights", [False, True])
@torch.no_grad()
def test_it_is_its_formula(want_weights: bool) -> None:
    layer, x, states = CrossAttention(4, 3, 0.0, head_dim=2), torch.randn(2, 4, 4), torch.randn(2, 5, 4)
    attended, maps = layer(x, Source(states, bidirectional_mask(MASK)), want_weights)
    expected, weights = by_hand(layer, x, states)
    torch.testing.assert_close(attended, expected)
    assert (maps is not None) == want_weights
    if maps is not None:
        torch.testing.assert_close(maps, weights)


@torch.no_grad()
def test_several_continuations_see_what_each_alone_would() -> None:
    layer, x, states = CrossAttention(4, 3, 0.0, head_dim=2), torch.randn(6, 2, 4), torch.randn(2, 5, 4)
    source = Source(states, bidirectional_mask(MASK))
    together, maps = layer(x, source, want_weights=True)
    repeated = Source(states.repeat_interleave(3, 0), bidirectional_mask(MASK.repeat_interleave(3, 0)))
    alone, each = layer(x, repeated, want_weights=True)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(maps, each)


@torch.no_grad()
def test_the_source_is_projected_once() -> None:
    layer, states, cache = CrossAttention(4, 2, 0.0), torch.randn(2, 5, 4), SourceCache()
    source, calls = Source(states, bidirectional_mask(MASK)), []
    layer.key.register_forward_hook(lambda *_: calls.append(1))
    for x in (torch.randn(2, 3, 4), torch.randn(2, 1, 4)):
        torch.testing.assert_close(layer(x, source, cache=cache)[0], layer(x, source)[0])
    assert len(calls) == 3  # once into the cache, twice without it
