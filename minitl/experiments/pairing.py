"""Two ways of learning, examined on the same examples: what tells them apart is where just one of them is right.

A difference of two accuracies is noisier than that of each example by itself: what is hard is hard for both.
"""

import math
from collections.abc import Sequence
from statistics import fmean, pvariance, stdev

from minitl.experiments.statistics import CONFIDENCE

RIGHT, WRONG = "1", "0"


def marks(predicted: Sequence[int], labels: Sequence[int | None]) -> str:
    """ "1" for each example that was answered rightly, "0" for each other."""
    return "".join(RIGHT if ours == label else WRONG for ours, label in zip(predicted, labels, strict=True))


def paired(first: Sequence[str], second: Sequence[str], comparisons: int = 1) -> tuple[float, float]:
    """How far `first` is ahead of `second` in mean accuracy, and half the width of the 95% interval of that.

    first, second   the `marks` of each seed, of the same examples; as many seeds each
    comparisons     widens it for the best of several (Bonferroni)

    The variance of the difference over examples, of each its mean over seeds, and the variance over seeds are added,
    with Student's quantile as in `statistics.noise`. One example more each way (Agresti & Min 2005), so that two that
    never differ are not free of noise.
    """
    from scipy.stats import t

    rows = [
        [int(a) - int(b) for a, b in zip(ours, theirs, strict=True)] for ours, theirs in zip(first, second, strict=True)
    ]
    by_example = [fmean(column) for column in zip(*rows, strict=True)]
    of_examples = pvariance([*by_example, 1, -1]) / (len(by_example) + 2)
    of_seeds = stdev(map(fmean, rows)) ** 2 / len(rows) if len(rows) > 1 else 0.0
    variance = of_examples + of_seeds
    freedom = variance**2 * (len(rows) - 1) / of_seeds**2 if of_seeds else math.inf
    return fmean(by_example), float(t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), freedom)) * math.sqrt(variance)
