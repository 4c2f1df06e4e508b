"""The noise of two scores on the same test items."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import f1_score

from minitl.experiments.paired import macro_f1, marks, paired, read, sampling_variance, share_right, written
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


def test_the_variance_of_a_share_is_the_binomials():
    wrong = [1] * 30 + [0] * 70
    score, right = share_right([wrong], [1] * 100), share_right([[0] * 100], [1] * 100)
    assert sampling_variance(score, right, 100) == pytest.approx(0.3 * 0.7 / 100, rel=0.15)


def test_what_both_get_wrong_is_no_noise():
    score = share_right([[1, 0, 1, 0], [0, 0, 1, 1]], [2, 1, 3, 1])
    assert sampling_variance(score, score, 4) == 0.0


def test_items_of_several_words_are_drawn_whole():
    score = share_right([[3, 0], [1, 0]], [4, 1])
    assert score(torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]).double()).tolist() == [1 - 2 / 5, 0.5, 1.0]


def test_macro_f1_is_scikit_learns_on_each_drawn_set():
    labels, answers = [0, 0, 1, 1, 2, 2], [[0, 1, 1, 1, 2, 0], [0, 0, 1, 2, 2, 2]]
    drawn = [[0, 1, 2, 3, 4, 5], [0, 0, 2, 3, 3, 5], [0, 0, 0, 0, 0, 5]]
    weights = torch.tensor([[drawn[k].count(i) for i in range(6)] for k in range(3)]).double()
    for found, items in zip(macro_f1(answers, labels, 3)(weights), drawn, strict=True):
        expected = [f1_score([labels[i] for i in items], [one[i] for i in items], average="macro") for one in answers]
        assert found.item() == pytest.approx(sum(expected) / 2)


def test_numbers_are_written_and_read():
    assert read(written([0, 12, 3])) == [0, 12, 3]
