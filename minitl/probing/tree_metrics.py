"""How good the trees are that a structural probe finds (Hewitt & Manning 2019, N19-1419, section 3.2).

    UUAS                undirected unlabelled attachment: the share of true edges that are among those of the least
                        spanning tree over the said distances
    distance Spearman   for each word, the rank correlation of its said and true distances to all words; the mean over
                        the texts of each length from 5 to 50 words, then over the lengths
    root accuracy       how often the word of the least said depth is the root
    depth Spearman      for each text, the rank correlation of said and true depths; averaged in the same way

As published, correlations are over all words, edges and roots are those of scored words alone: punctuation is in
neither tree, at neither end of an edge. Both trees are least spanning trees over the distances of these words, so that
of n of them there are n - 1 true edges also where two hang together through punctuation alone (a comma as a head):
these are then joined by the shortest ways. Which tag is punctuation the treebank says, here UD's PUNCT, there the Penn
Treebank's. One thing differs: a text whose root is punctuation does not count, there it counts as missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitl.probing.metrics import Measured
from minitl.probing.trees import edges_among, spanning_trees

LENGTHS = range(5, 51)


@dataclass(frozen=True, eq=False)
class TextScore:
    """What one text contributes, of each probe: right [probes] of `total`, and a correlation [probes]."""

    right: Tensor
    total: int
    correlation: Tensor
    length: int


def score_distances(said: Tensor, true: Tensor, scored: Tensor) -> TextScore:
    """Of one text of n words: said [probes, n, n], true [n, n], scored bool [n]."""
    judged = scored.nonzero()[:, 0]
    edges = edges_among(true.numpy(), judged.tolist())
    found = judged[torch.from_numpy(spanning_trees(said[:, judged][:, :, judged].numpy()))]  # [probes, words - 1, 2]
    right = [sum((min(a, b), max(a, b)) in edges for a, b in tree) for tree in found.tolist()]
    return TextScore(torch.tensor(right).double(), len(edges), rank_correlation(said, true).mean(-1), len(true))


def score_depths(said: Tensor, true: Tensor, scored: Tensor) -> TextScore:
    """Of one text: said [probes, n], true [n], scored bool [n]. A text whose root is not scored has no root to find."""
    root = int(true.argmin())
    right = said.masked_fill(~scored, torch.inf).argmin(-1) == root
    total = int(scored[root])
    return TextScore(right.double() * total, total, rank_correlation(said, true), len(true))


def rank_correlation(said: Tensor, true: Tensor) -> Tensor:
    """Spearman's, row by row: said [probes, …, n] with true […, n] -> [probes, …]; 0 where a row is all the same."""
    from scipy.stats import rankdata

    left, right = (rankdata(x.double().numpy(), axis=-1) for x in (said, true))
    left, right = left - left.mean(-1, keepdims=True), right - right.mean(-1, keepdims=True)
    spread = np.sqrt((left**2).sum(-1) * (right**2).sum(-1))
    return torch.from_numpy(np.where(spread > 0, (left * right).sum(-1) / np.where(spread > 0, spread, 1), 0.0))


def attachment(scores: Sequence[TextScore], weights: Tensor) -> Measured:
    """Right of all, over texts that are drawn by `weights` [draws, texts]: UUAS, or root accuracy."""
    right = torch.stack([one.right for one in scores])  # [texts, probes]
    total = torch.tensor([one.total for one in scores]).double()
    drawn = (weights.double() @ right) / (weights.double() @ total).clamp(min=1)[:, None]
    return Measured(right.sum(0) / total.sum().clamp(min=1), drawn.T)


def spearman(scores: Sequence[TextScore], weights: Tensor) -> Measured:
    """The mean over lengths of the mean over the texts of a length; nan where no text has such a length."""
    values = torch.stack([one.correlation for one in scores])  # [texts, probes]
    lengths = torch.tensor([one.length for one in scores])
    of_length = torch.stack([(lengths == length).double() for length in LENGTHS], dim=1)  # [texts, lengths]

    def averaged(weights: Tensor) -> Tensor:  # [draws, texts] -> [draws, probes]
        counts = weights @ of_length  # [draws, lengths]
        sums = torch.einsum("dt,tl,tp->dlp", weights, of_length, values)
        means = sums / counts.clamp(min=1)[..., None]
        return means.sum(1) / (counts > 0).sum(-1)[:, None]

    return Measured(averaged(torch.ones(1, len(scores)).double())[0], averaged(weights.double()).T)
