"""Samples are nested and balanced; a validation split is cut off without loss."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import Example, sample
from minitl.data.splits import cut_off
from minitl.errors import InputError

pools = st.lists(st.integers(0, 3), min_size=2, max_size=200).map(
    lambda labels: [Example(f"text {i}", label=label) for i, label in enumerate(labels)]
)


@given(pools, st.data(), st.integers(0, 5), st.booleans())
def test_samples_of_one_seed_are_nested(pool: list[Example], data: st.DataObject, seed: int, stratified: bool) -> None:
    small = data.draw(st.integers(1, len(pool)))
    large = data.draw(st.integers(small, len(pool)))
    assert sample(pool, large, seed, stratified)[:small] == sample(pool, small, seed, stratified)


@given(pools, st.data(), st.integers(0, 5))
def test_a_sample_is_balanced_as_its_pool(pool: list[Example], data: st.DataObject, seed: int) -> None:
    n = data.draw(st.integers(1, len(pool)))
    whole = Counter(example.label for example in pool)
    drawn = Counter(example.label for example in sample(pool, n, seed))
    for label, count in whole.items():
        # Each class is rounded by itself and their sum must be n: off by one for itself, and a share of the others.
        assert abs(drawn[label] - n * count / len(pool)) <= 1 + len(whole) / 2


def test_two_equal_classes_are_drawn_equally() -> None:
    pool = [Example(str(i), label=int(i < 500)) for i in range(1000)]
    for n in (2, 50, 100, 1000):
        assert Counter(example.label for example in sample(pool, n, seed=3)) == {0: n // 2, 1: n // 2}


def test_seeds_draw_different_examples() -> None:
    pool = [Example(str(i), label=i % 2) for i in range(200)]
    assert {e.text for e in sample(pool, 20, seed=0)} != {e.text for e in sample(pool, 20, seed=1)}


def test_examples_without_classes_are_drawn_too() -> None:
    pool = [Example(str(i), label=i / 7) for i in range(50)]
    drawn = sample(pool, 20, seed=0)
    assert len({example.text for example in drawn}) == 20
    assert drawn != pool[:20]


@pytest.mark.parametrize("n", [-1, 0, 5])
def test_a_sample_must_fit_its_pool(n: int) -> None:
    with pytest.raises(InputError, match=f"cannot draw {n} examples from a pool of 4"):
        sample([Example(str(i), label=0) for i in range(4)], n, seed=0)


@given(pools, st.floats(0.01, 0.99), st.integers(0, 5))
def test_cutting_loses_and_doubles_nothing(pool: list[Example], fraction: float, seed: int) -> None:
    rest, cut = cut_off(pool, fraction, seed)
    assert rest
    assert cut
    assert sorted(example.text for example in rest + cut) == sorted(example.text for example in pool)
    assert [example for example in pool if example in rest] == rest


def test_the_cut_is_stratified() -> None:
    pool = [Example(str(i), label=int(i % 10 == 0)) for i in range(1000)]
    _, cut = cut_off(pool, 0.1, seed=0)
    assert Counter(example.label for example in cut) == {0: 90, 1: 10}
