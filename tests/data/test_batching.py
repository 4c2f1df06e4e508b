"""Batches of similar length: complete, deterministic, and grouped."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data.batching import BATCHES_PER_POOL, batches_by_length, length_grouped_batches
from minitl.errors import InputError

lengths_lists = st.lists(st.integers(1, 512), max_size=300)
sizes = st.integers(1, 40)


@given(lengths_lists, sizes, st.integers(0, 5), st.integers(0, 5))
def test_each_index_occurs_once(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = length_grouped_batches(lengths, size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(lengths_lists, sizes, st.integers(0, 5))
def test_at_most_one_batch_is_short(lengths: list[int], size: int, seed: int) -> None:
    batches = length_grouped_batches(lengths, size, seed, epoch=0)
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) == -(-len(lengths) // size)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=300), sizes, st.integers(0, 5))
def test_the_costliest_batch_comes_first(lengths: list[int], size: int, seed: int) -> None:
    batches = length_grouped_batches(lengths, size, seed, epoch=0)
    padded = [len(batch) * max(lengths[index] for index in batch) for batch in batches]
    assert padded[0] == max(padded)


@given(lengths_lists, sizes, st.integers(0, 5), st.integers(0, 5))
def test_the_order_depends_on_seed_and_epoch_alone(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    random.seed(1)
    first = length_grouped_batches(lengths, size, seed, epoch)
    random.seed(2)
    state = random.getstate()
    assert length_grouped_batches(lengths, size, seed, epoch) == first
    assert random.getstate() == state


def test_seeds_and_epochs_give_different_orders() -> None:
    lengths = list(range(1, 201))
    orders = [length_grouped_batches(lengths, 8, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({str(order) for order in orders}) == 9


def test_batches_are_shuffled_not_sorted() -> None:
    lengths = list(range(1, 401))
    longest = [max(lengths[i] for i in batch) for batch in length_grouped_batches(lengths, 8, seed=0, epoch=0)]
    assert longest != sorted(longest, reverse=True)


def test_grouping_leaves_little_padding() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(5, 128) for _ in range(4000)]
    batches = length_grouped_batches(lengths, 16, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.integers(1, 8), st.integers(0, 5))
def test_within_a_pool_no_batch_straddles_another(lengths: list[int], size: int, seed: int) -> None:
    """A set of one pool is cut like a sorted list: only the order of its batches is drawn."""
    assert len(lengths) <= BATCHES_PER_POOL * size
    batches = length_grouped_batches(lengths, size, seed, epoch=0)
    by_length = [sorted(lengths[index] for index in batch) for batch in batches]
    expected = [sorted(lengths[index] for index in batch) for batch in batches_by_length(lengths, size)]
    assert sorted(by_length) == sorted(expected)


@given(lengths_lists, sizes)
def test_for_evaluation_batches_fall_in_length(lengths: list[int], size: int) -> None:
    flat = [index for batch in batches_by_length(lengths, size) for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)


def test_no_texts_make_no_batches() -> None:
    assert length_grouped_batches([], 4, seed=0, epoch=0) == batches_by_length([], 4) == []


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size must be at least 1, not {size}"):
        length_grouped_batches([1, 2], size, seed=0, epoch=0)
    with pytest.raises(InputError, match="batch_size"):
        batches_by_length([1, 2], size)
