"""The median of repeated ratios and its interval."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from minitl.experiments.ratios import ratio_of


def test_seven_values_reach_from_the_least_to_the_largest():
    found = ratio_of([2.0, 1.9, 2.1, 5.0, 1.8, 2.2, 2.05])  # 2 · 1/128 outside; with the next 16/128
    assert (found.median, found.low, found.high) == (2.05, 1.8, 5.0)
    assert str(found) == "2.05× (1.80 to 5.00)"


def test_of_nine_values_one_at_either_end_may_be_off():
    found = ratio_of([1.0, 9.0, 2.1, 2.0, 2.2, 2.3, 1.9, 1.8, 2.4])
    assert (found.median, found.low, found.high) == (2.1, 1.8, 2.4)


@pytest.mark.parametrize("count", range(6))
def test_too_few_have_no_interval(count: int):
    found = ratio_of([2.0] * count)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.median == 2.0 if count else math.isnan(found.median)


@given(st.integers(6, 60))
def test_the_interval_is_the_narrowest_that_is_sure_enough(count: int):
    found = ratio_of(list(range(count)))
    outside = 2 * binom.cdf(found.low, count, 0.5)
    assert outside <= 0.05 < 2 * binom.cdf(found.low + 1, count, 0.5)
    assert found.low + found.high == count - 1
