"""Metrics are the libraries', and a draw is the metric of what was drawn."""

import math

import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from minitl.probing.metrics import (
    Measured,
    behind,
    class_metrics,
    difference,
    draw_weights,
    estimates,
    score_metrics,
)


@pytest.fixture
def drawn():
    texts = torch.tensor([0] * 5 + [1] * 3 + [2] * 8 + [3] * 4)
    weights = draw_weights(4, draws=6, seed=1)
    repeated = [torch.repeat_interleave(torch.arange(20), weights[d, texts].long()) for d in range(6)]
    return texts, weights, repeated


def test_draws_take_as_many_texts_as_there_are():
    weights = draw_weights(7, draws=50)
    assert (weights.sum(-1) == 7).all()
    assert torch.equal(weights, draw_weights(7, draws=50))
    assert not torch.equal(weights, draw_weights(7, draws=50, seed=1))


def test_class_metrics(drawn):
    texts, weights, repeated = drawn
    truth, said = torch.randint(3, (20,)), torch.randint(4, (2, 20))  # a class that occurs in no truth may be said
    found = class_metrics(said, truth, texts, 4, weights)
    present = truth.unique().tolist()
    for p in range(2):
        assert found["accuracy"].values[p] == accuracy_score(truth, said[p])
        f1 = f1_score(truth, said[p], labels=present, average="macro", zero_division=0)
        assert float(found["macro-f1"].values[p]) == pytest.approx(f1)
        for d, rows in enumerate(repeated):
            assert float(found["accuracy"].draws[p, d]) == pytest.approx(accuracy_score(truth[rows], said[p, rows]))
            f1 = f1_score(truth[rows], said[p, rows], labels=present, average="macro", zero_division=0)
            assert float(found["macro-f1"].draws[p, d]) == pytest.approx(f1)


def test_score_metrics(drawn):
    texts, weights, repeated = drawn
    truth = torch.randint(6, (20,)).float()  # with ties
    said = torch.stack([truth + torch.randn(20), torch.randint(3, (20,)).float()])
    found = score_metrics(said, truth, texts, weights)
    for name, correlation in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        for p in range(2):
            assert float(found[name].values[p]) == pytest.approx(correlation(said[p], truth).statistic)
            for d, rows in enumerate(repeated):
                expected = correlation(said[p, rows], truth[rows]).statistic
                assert float(found[name].draws[p, d]) == pytest.approx(expected, abs=1e-6)


def test_who_says_the_same_of_everything_has_no_correlation():
    found = score_metrics(torch.full((1, 5), 2.0), torch.arange(5.0), torch.arange(5), draw_weights(5, draws=3))
    assert found["spearman"].values.tolist() == found["pearson"].values.tolist() == [0.0]
    assert not found["spearman"].draws.any()


def test_an_estimate_is_over_seeds_and_draws():
    values = torch.tensor([0.5, 0.7, 0.1, 0.3])  # two layers, two seeds
    draws = torch.stack([value + torch.linspace(-0.1, 0.1, 1001) for value in values])
    first, second = estimates(Measured(values, draws), seeds=2)
    assert (first.mean, second.mean) == (pytest.approx(0.6), pytest.approx(0.2))
    assert first.deviation == pytest.approx(0.2 / math.sqrt(2))
    assert (first.low, first.high) == (pytest.approx(0.6 - 0.095), pytest.approx(0.6 + 0.095))
    assert math.isnan(estimates(Measured(values, draws), seeds=1)[0].deviation)


def test_a_difference_is_taken_draw_by_draw():
    draws = torch.rand(2, 100)
    found = difference(Measured(torch.tensor([0.9, 0.8]), draws + 0.2), Measured(torch.tensor([0.7, 0.6]), draws))
    (estimate,) = estimates(found, seeds=2)
    assert estimate.low == pytest.approx(0.2, abs=1e-6)
    assert estimate.high == pytest.approx(0.2, abs=1e-6)


def test_a_layer_that_is_behind_in_every_draw_is_told_from_the_best_however_wide_the_draws_are():
    wide = torch.randn(100)
    draws = torch.stack([wide, wide + 0.02, wide + 0.03, wide + 0.03])  # two layers, two seeds
    values = torch.tensor([0.5, 0.52, 0.53, 0.53])
    lower, best = behind(Measured(values, draws), seeds=2, best=1)
    assert lower.mean == pytest.approx(0.02)
    assert (lower.low, lower.high) == (pytest.approx(0.02, abs=1e-6), pytest.approx(0.02, abs=1e-6))
    assert (best.mean, best.low, best.high) == (0, 0, 0)
    equals = behind(Measured(torch.tensor([0.5, 0.5]), torch.tensor([[0.4, 0.6], [0.6, 0.4]])), seeds=1, best=0)
    assert [one.low <= 0 for one in equals] == [True, True]
    assert equals[0].high == 0  # of equals it is the lowest


def test_words_of_a_text_are_drawn_together():
    """All words of a text right or all wrong: the interval is that of texts, ten times as many words change nothing."""
    truth, right = torch.zeros(400).long(), torch.arange(40) % 2
    widths = []
    for words in (1, 10):
        texts = torch.arange(40).repeat_interleave(words)
        said = (1 - right).repeat_interleave(words)[None]
        (one,) = estimates(class_metrics(said, truth[: 40 * words], texts, 2, draw_weights(40))["accuracy"], 1)
        widths.append(one.high - one.low)
    assert widths[0] == pytest.approx(widths[1])
    assert widths[0] == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(40), rel=0.1)
