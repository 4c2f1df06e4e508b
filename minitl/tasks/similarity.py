"""Semantic textual similarity: do the vectors of two texts lie as near as people find their meanings?"""

from collections.abc import Sequence

import torch

from minitl.errors import DataError
from minitl.models.sentence import SentenceEncoder


def sts_spearman(encoder: SentenceEncoder, pairs: Sequence[tuple[str, str]], scores: Sequence[float]) -> float:
    """Spearman's rank correlation · 100 between the cosine of each pair's vectors and its human score.

    Only the order counts, so no scale has to be fitted (Reimers et al. 2016, "Task-Oriented Intrinsic Evaluation of
    Semantic Textual Similarity"). Runs from -100 to 100. DataError where it is not defined: fewer than two pairs, not
    one score for each, or scores that are all the same.
    """
    from scipy.stats import spearmanr

    if len(pairs) != len(scores):
        raise DataError(f"{len(pairs)} pairs of texts and {len(scores)} scores: expected as many of each")
    if len(set(scores)) < 2:
        raise DataError(f"a rank correlation needs at least two different scores, got {len(set(scores))}")
    vectors = encoder.encode([text for pair in pairs for text in pair])  # [2 · pairs, dim]
    cosines = torch.cosine_similarity(vectors[0::2], vectors[1::2])
    return 100 * float(spearmanr(cosines.numpy(), scores).statistic)
