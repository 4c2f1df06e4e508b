"""The processor's dropout masks: their words, their shares, their independence, their packing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import splitmix
from minitl_kernels.cpu_mask import cpu_keep, keep_bytes, masked, pack_bits, unpack_bits, wide_mask
from torch import Tensor

COUNT = 1 << 20
WORD = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
seeds = st.integers(-(2**63), 2**63 - 1)


def dropped(seed: int, threshold: int, count: int = COUNT) -> Tensor:
    return (keep_bytes(seed, count, threshold) == 0).double()


def unsigned(words: Tensor) -> list[int]:
    return [word & WORD for word in words.tolist()]


def test_words_are_those_that_are_published_for_splitmix64() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert unsigned(splitmix.words(1234567 + GAMMA, 5)) == known


def test_blocks_go_on_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = splitmix.words(99, 1000)
    monkeypatch.setattr(splitmix, "BLOCK", 64)
    splitmix._multiples.cache_clear()
    try:
        assert torch.equal(splitmix.words(99, 1000), whole)
    finally:
        splitmix._multiples.cache_clear()


def by_hand(seed: int, count: int, threshold: int) -> list[bool]:
    """The rule in the module's docstring, an element at a time."""
    start = splitmix.start_of(seed)
    words = (count + 7) // 8

    def bytes_of(start: int, count: int) -> list[bytes]:
        return [splitmix.start_of(start + (i - 1) * GAMMA).to_bytes(8, "little") for i in range(count)]

    first, second = bytes_of(start, words), iter(bytes_of(splitmix.start_of(start), words))
    keep: list[bool] = []
    for word in first:
        tie = next(second) if threshold % 256 and threshold // 256 in word else bytes(8)
        keep += [256 * high + low >= threshold for high, low in zip(word, tie, strict=True)]
    return keep[:count]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, count=st.integers(0, 300), threshold=st.integers(0, 65535))
def test_the_mask_is_the_rule_applied_to_each_element(seed: int, count: int, threshold: int) -> None:
    # With no second byte needed, a draw is its first byte alone, and zeros behind it change no comparison.
    keep = keep_bytes(seed, count, threshold)
    assert keep.shape == (8 * math.ceil(count / 8),)
    assert (keep[:count] == -1).tolist() == by_hand(seed, count, threshold)
    assert torch.isin(keep, torch.tensor([-1, 0], dtype=torch.int8)).all()


@pytest.mark.parametrize("threshold", [1, 100, 256, 6554, 6656, 32768, 45000, 65279, 65535])
def test_the_share_that_is_dropped_is_the_threshold(threshold: int) -> None:
    p = threshold / 65536
    share = float(torch.stack([dropped(seed, threshold).mean() for seed in range(8)]).mean())
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / (8 * COUNT))


@pytest.mark.parametrize("threshold", [6554, 32768, 130])  # 130: below one byte, where only second bytes decide
def test_elements_are_dropped_independently(threshold: int) -> None:
    p = threshold / 65536
    drop = (dropped(3, threshold) - p) / math.sqrt(p * (1 - p))
    for distance in (*range(1, 18), 63, 64, 384, 1 << 19):  # lanes of a word, its neighbours, a row, the other half
        correlation = float((drop[distance:] * drop[:-distance]).mean())
        assert abs(correlation) < 5 / math.sqrt(COUNT - distance), distance


def test_small_seeds_drop_their_first_elements_no_more_often_than_others() -> None:
    shares = torch.stack([dropped(seed, 6554, 64) for seed in range(-256, 256)]).view(512, 8, 8).mean(dim=(0, 2))
    p = 6554 / 65536
    assert ((shares - p).abs() < 5 * math.sqrt(p * (1 - p) / (512 * 8))).all()
    assert dropped(0, 6554, 8).sum() < 8  # mixing maps 0 to 0, which no seed may begin with


def test_each_lane_of_a_word_drops_its_share() -> None:
    p = 6554 / 65536
    lanes = dropped(5, 6554).view(-1, 8).mean(dim=0)
    assert ((lanes - p).abs() < 5 * math.sqrt(p * (1 - p) * 8 / COUNT)).all()


@pytest.mark.parametrize("other", [1, 2, 1 << 32, -1, GAMMA - (1 << 64), 2 * GAMMA - (1 << 64)])
def test_masks_of_different_seeds_are_independent(other: int) -> None:
    p = 0.25
    left, right = ((dropped(seed, 16384) - p) / math.sqrt(p * (1 - p)) for seed in (0, other))
    for shift in (0, 1, 8, 16):
        assert abs(float((left * right.roll(shift)).mean())) < 5 / math.sqrt(COUNT), shift


def test_a_mask_is_a_function_of_its_seed_whatever_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = keep_bytes(17, 999_999, 6554)
        torch.set_num_threads(2)
        assert torch.equal(keep_bytes(17, 999_999, 6554), alone)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(keep_bytes(18, 999_999, 6554), alone)


def test_a_larger_mask_of_whole_bytes_begins_as_the_smaller() -> None:
    assert torch.equal(keep_bytes(1, 800, 2560)[:80], keep_bytes(1, 80, 2560))


def test_the_exported_mask_is_the_one_that_is_applied() -> None:
    mask = cpu_keep(torch.tensor(7), 5, 9, 20000)
    assert mask.shape == (5, 9)
    assert mask.dtype == torch.bool
    assert torch.equal(mask.flatten(), keep_bytes(7, 45, 20000)[:45] == -1)


@settings(max_examples=30, deadline=None)
@given(words=st.integers(0, 50), seed=seeds)
def test_packing_loses_nothing(words: int, seed: int) -> None:
    keep = keep_bytes(seed, 8 * words, 30000)
    bits = pack_bits(keep)
    assert bits.shape == (words,)
    assert torch.equal(unpack_bits(bits), keep)
    assert [(byte >> lane) & 1 for byte in bits.tolist() for lane in range(8)] == keep.neg().tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_dropped_is_zero_whatever_it_was(dtype: torch.dtype) -> None:
    x = torch.tensor([[math.nan, -math.inf, -1.5], [2.0, math.nan, 1e-5]], dtype=dtype)
    keep = torch.tensor([0, 0, -1, -1, 0, -1, 0, 0], dtype=torch.int8)
    expected = torch.tensor([[0, 0, -1.5], [2.0, 0, 1e-5]], dtype=dtype)
    assert torch.equal(masked(x, wide_mask(keep, x)), expected)
    assert torch.equal(masked(x.t(), wide_mask(keep[[0, 3, 1, 4, 2, 5]], x.t())), expected.t())
