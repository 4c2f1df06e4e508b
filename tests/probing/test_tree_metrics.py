"""The metrics of trees, by hand and as scipy has them."""

import pytest
import torch
from scipy import stats

from minitl.probing.metrics import draw_weights
from minitl.probing.tree_metrics import TextScore, attachment, rank_correlation, score_depths, score_distances, spearman
from minitl.probing.trees import depths_of, distances_of

HEADS = torch.tensor([1, 2, -1, 4, 2, 2])  # the last word is a full stop
SCORED = torch.tensor([True] * 5 + [False])
DISTANCES = torch.from_numpy(distances_of(HEADS.numpy())).float()
DEPTHS = torch.from_numpy(depths_of(HEADS.numpy())).float()


def test_true_distances_are_right_whatever_their_scale():
    score = score_distances(torch.stack([DISTANCES, 7 * DISTANCES]), DISTANCES, SCORED)
    assert score.right.tolist() == [4, 4]
    assert score.total == 4  # the edge to the full stop is not among them
    torch.testing.assert_close(score.correlation, torch.ones(2).double())


def test_a_chain_has_the_edges_of_neighbours():
    places = torch.arange(6.0)
    score = score_distances((places[:, None] - places).abs()[None], DISTANCES, SCORED)
    assert score.right.tolist() == [3]  # 0-1, 1-2, 3-4 of 0-1, 1-2, 2-4, 3-4


def test_what_is_not_scored_has_no_say():
    near = DISTANCES.clone()
    near[5] = near[:, 5] = 0.1  # everything is nearest to the full stop
    assert score_distances(near[None], DISTANCES, SCORED).right.tolist() == [4]
    assert score_distances(near[None], DISTANCES, torch.ones(6).bool()).right.tolist() == [1]
    shallow = DEPTHS.clone()
    shallow[5] = -1
    assert score_depths(shallow[None], DEPTHS, SCORED).right.tolist() == [1]
    assert score_depths(shallow[None], DEPTHS, torch.ones(6).bool()).right.tolist() == [0]


def test_words_that_hang_on_a_comma_are_joined_by_the_shortest_ways():
    """As Hewitt and Manning judge: both trees span the words that are no punctuation, and have n - 1 edges of n.

    saw  ,  them  there       0 ← 1 ← 2, 1 ← 3: no edge is left where the comma is taken out
    """
    true = torch.from_numpy(distances_of(torch.tensor([-1, 0, 1, 1]).numpy())).float()
    scored = torch.tensor([True, False, True, True])
    chain = torch.tensor([[0.0, 9, 1, 2], [9, 0, 9, 9], [1, 9, 0, 1], [2, 9, 1, 0]])  # 0 – 2 – 3
    score = score_distances(torch.stack([true, chain]), true, scored)
    assert score.total == 2  # 0 – 2 and 0 – 3, all two steps apart, the lower words first
    assert score.right.tolist() == [2, 1]


def test_the_root_is_the_word_of_least_depth():
    wrong = torch.tensor([0.0, 1, 2, 3, 4, 5])
    score = score_depths(torch.stack([DEPTHS, wrong]), DEPTHS, SCORED)
    assert score.right.tolist() == [1, 0]
    assert float(score.correlation[1]) == pytest.approx(stats.spearmanr(wrong, DEPTHS).statistic)
    assert score_depths(DEPTHS[None], DEPTHS, torch.tensor([True, True, False, True, True, True])).total == 0


def test_rank_correlations_are_scipys():
    said, true = torch.randn(3, 4, 7), torch.randint(4, (4, 7)).float()
    found = rank_correlation(said, true)
    for p in range(3):
        for row in range(4):
            assert float(found[p, row]) == pytest.approx(stats.spearmanr(said[p, row], true[row]).statistic)
    assert rank_correlation(torch.zeros(1, 5), torch.arange(5.0)).tolist() == [0.0]


def text_score(n, right, total, correlation):
    return TextScore(torch.tensor([right]).double(), total, torch.tensor([correlation]).double(), n)


def test_attachment_counts_edges_and_correlations_lengths():
    scores = [text_score(5, 2, 4, 0.5), text_score(5, 4, 4, 0.7), text_score(9, 2, 8, 0.0), text_score(3, 1, 2, -1.0)]
    assert float(attachment(scores, torch.ones(1, 4)).values) == pytest.approx(9 / 18)
    # the mean over lengths 5 and 9 of the means 0.6 and 0.0; the text of three words counts in none
    assert float(spearman(scores, torch.ones(1, 4)).values) == pytest.approx(0.3)
    weights = torch.tensor([[2.0, 0, 1, 1], [4, 0, 0, 0]])
    assert attachment(scores, weights).draws[0].tolist() == [pytest.approx(7 / 18), pytest.approx(0.5)]
    assert spearman(scores, weights).draws[0].tolist() == [pytest.approx(0.25), pytest.approx(0.5)]


def test_correlations_are_of_texts_of_5_to_50_words():
    scores = [text_score(n, 0, 1, correlation) for n, correlation in ((4, 1.0), (5, 0.1), (50, 0.3), (51, 1.0))]
    assert float(spearman(scores, torch.ones(1, 4)).values) == pytest.approx(0.2)


def test_texts_too_short_for_a_correlation_have_none():
    assert spearman([text_score(3, 1, 2, 1.0)], draw_weights(1, draws=2)).values.isnan().all()
