"""Differences on the same examples, against numbers by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from minitl.experiments.pairing import marks, paired
from minitl.experiments.statistics import Measured, noise


def test_marks_say_what_was_right():
    assert marks([1, 0, 1], [1, 1, 1]) == "101"
    with pytest.raises(ValueError, match="zip"):
        marks([1], [1, 0])


def test_one_seed_by_hand():
    gain, margin = paired(["1110"], ["1000"])
    # Differences 0, 1, 1, 0 with 1 and -1 more: mean 1/3, mean square 4/6.
    assert gain == 0.5
    assert margin == pytest.approx(norm.ppf(0.975) * math.sqrt((4 / 6 - 1 / 9) / 6))


def test_seeds_that_disagree_add_noise():
    _, alike = paired(["1100" * 50] * 3, ["1000" * 50] * 3)
    _, apart = paired(["1100" * 50, "1111" * 50, "1000" * 50], ["1000" * 50] * 3)
    assert apart > 2 * alike


def test_what_agrees_on_most_is_told_apart_where_the_accuracies_alone_are_not():
    first, second = "1" * 900 + "0" * 100, "1" * 880 + "0" * 120
    gain, margin = paired([first], [second])
    assert gain == pytest.approx(0.02)
    assert margin < gain < noise(Measured((0.9,)), Measured((0.88,)), 1000)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_other_way_round_it_is_as_far_behind(answers: list[tuple[bool, bool]]):
    ours, theirs = ("".join(str(int(pair[side])) for pair in answers) for side in (0, 1))
    gain, margin = paired([ours], [theirs])
    back, same = paired([theirs], [ours])
    assert (gain, margin) == (pytest.approx(-back), pytest.approx(same))
    assert margin > 0
