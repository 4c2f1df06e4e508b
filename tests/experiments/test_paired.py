"""The noise of two scores on the same test items."""

import pytest
import torch
from sklearn.metrics import f1_score

from minitl.experiments.paired import macro_f1, read, sampling_variance, share_right, written


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
