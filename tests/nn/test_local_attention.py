"""Attention in blocks of the window against attention to the whole text under the window's mask."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitl.nn.attention import FusedSelfAttention
from minitl.nn.local_attention import BlockMask, LocalSelfAttention, local_mask
from minitl.nn.masks import window_mask
from minitl.nn.positions import RotaryPositions

CPU = torch.device("cpu")
DRAWN = {
    "length": st.integers(1, 40),
    "reach": st.integers(0, 6),
    "counts": st.none() | st.lists(st.integers(0, 40), min_size=2, max_size=2),
    "side": st.sampled_from(["left", "right"]),
    "seed": st.integers(0, 1000),
}


def draw_mask(length: int, counts: list[int] | None, side: str) -> Tensor | None:
    if counts is None:
        return None
    steps, real = torch.arange(length), torch.tensor(counts)[:, None].clamp(max=length)
    return (steps < real if side == "right" else steps >= length - real).long()


@given(**DRAWN)
def test_blocks_give_the_numbers_and_gradients_of_the_whole(
    length: int, reach: int, counts: list[int] | None, side: str, seed: int
) -> None:
    torch.manual_seed(seed)
    mask = draw_mask(length, counts, side)
    real = torch.ones(2, length, dtype=torch.bool) if mask is None else mask.bool()
    attention, x = LocalSelfAttention(12, 3, 0.0), torch.randn(2, length, 12)
    turn = RotaryPositions(4, 100.0)(torch.arange(length)[None], x.dtype)
    results = []
    for allowed in (window_mask(mask, length, reach, CPU), local_mask(mask, 2, length, reach, CPU)):
        attention.zero_grad()
        given_x = x.clone().requires_grad_()
        attended, _ = attention(given_x, allowed, turn=turn)
        attended[real].square().sum().backward()
        assert attended.isfinite().all()
        gradients = [given_x.grad, *(p.grad for p in attention.parameters())]
        results.append([attended[real].detach(), *gradients])
    for whole, in_blocks in zip(*results, strict=True):
        torch.testing.assert_close(in_blocks, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 3, 6, 7, 8, 9, 40])
def test_only_a_text_of_more_than_three_blocks_is_cut(length: int) -> None:
    mask = local_mask(None, 5, length, 2, CPU)
    assert isinstance(mask, BlockMask) == (length > 6)
    if isinstance(mask, BlockMask):
        assert mask.allowed.shape == (5 * ((length + 1) // 2), 1, 2, 6)


def test_under_any_other_mask_it_is_plain_attention() -> None:
    local, plain, x = LocalSelfAttention(12, 3, 0.0), FusedSelfAttention(12, 3, 0.0), torch.randn(2, 9, 12)
    plain.load_state_dict(local.state_dict())
    mask = window_mask(None, 9, 2, CPU)
    for want in (False, True):
        for ours, theirs in zip(local(x, mask, want), plain(x, mask, want), strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)


def test_dropout_falls_on_the_blocks_in_training_alone() -> None:
    attention, x = LocalSelfAttention(12, 3, 0.5), torch.randn(2, 9, 12)
    mask = local_mask(None, 2, 9, 1, CPU)
    whole = attention.eval()(x, mask)[0]
    assert torch.equal(attention(x, mask)[0], whole)
    assert not torch.equal(attention.train()(x, mask)[0], whole)
