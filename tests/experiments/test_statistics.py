"""The noise of a difference, beside what `tests/experiments/study` says of it."""

import math

import pytest

from minitl.experiments.statistics import Measured, commonest, interval, margin, mean_interval, noise


def test_the_margin_is_welchs_interval():
    first, second = Measured((1.0, 2.0, 3.0)), Measured((2.0, 4.0, 6.0))
    # variances of the means 1/3 and 4/3; degrees of freedom (5/3)² / ((1/9 + 16/9) / 2) = 50/17; t(0.975) = 3.2207
    assert margin(first, second) == pytest.approx(3.2207 * math.sqrt(5 / 3), rel=1e-3)


def test_the_choice_of_test_examples_adds_to_it():
    alike = Measured((0.5, 0.5))
    assert margin(alike, alike) == 0.0
    assert margin(alike, alike, sampling=0.01) == pytest.approx(1.95996 * 0.1, rel=1e-4)
    assert margin(alike, alike, sampling=0.01, comparisons=5) == pytest.approx(2.57583 * 0.1, rel=1e-4)


def test_one_seed_says_nothing_of_the_noise():
    assert margin(Measured((1.0,)), Measured((2.0,))) == math.inf


def test_the_noise_of_shares_is_a_margin():
    first, second = Measured((0.8, 0.9)), Measured((0.7, 0.7))
    # one success and one failure more: 86 of 102 and 71 of 102
    variance = (86 * 16 + 71 * 31) / 102**3
    assert noise(first, second, 100) == pytest.approx(margin(first, second, variance))


def test_the_interval_of_a_mean_is_wilsons_where_seeds_agree_and_wider_where_they_do_not():
    assert mean_interval(Measured((0.6,)), 872) == interval(0.6, 872)
    low, high = interval(0.6, 872)
    assert mean_interval(Measured((0.6, 0.6, 0.6)), 872) == pytest.approx((low, high))
    wide = mean_interval(Measured((0.71, 0.66, 0.43)), 872)
    spread = Measured((0.71, 0.66, 0.43)).spread
    assert wide[1] - wide[0] > 2 * 1.96 * spread / 3**0.5  # Student's quantile, of two degrees of freedom
    assert mean_interval(Measured((0.99, 0.6)), 100)[1] == 1.0


def test_the_commonest_answer_is_right_as_often_as_it_is_given():
    assert commonest([0, 1, 1, 1]) == 0.75
    assert commonest("abca") == 0.5
