"""Two ways of learning, measured on the same test items: how much of their difference is the choice of these items.

What is hard for the one is mostly hard for the other, so that their difference varies less from test set to test set
than two measurements on test sets of their own would (`statistics.noise`). For accuracies the variance can be written
down, `paired`. For other scores the bootstrap (Efron 1979) tells it: test sets are drawn from the test set, with
replacement, and both are scored on each.

    weights   [draws, items]   how often each drawn test set holds each item
    a score   [draws]          on each of them, a mean over seeds
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pvariance, stdev

import torch
from torch import Tensor

from minitl.experiments.statistics import CONFIDENCE
from minitl.probing.metrics import draw_weights

RIGHT, WRONG = "1", "0"
Score = Callable[[Tensor], Tensor]


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


def sampling_variance(first: Score, second: Score, items: int) -> float:
    """Of the difference of two scores on the same `items` test items. The draws are the same at each call."""
    weights = draw_weights(items).double()
    return float((first(weights) - second(weights)).var())


def share_right(wrong: Sequence[Sequence[int]], sizes: Sequence[int]) -> Score:
    """The share of what was right: `wrong` of each seed and item, of the `sizes` that the items have (words, say)."""
    mean = torch.tensor(wrong, dtype=torch.float64).mean(0)
    whole = torch.tensor(sizes, dtype=torch.float64)
    return lambda weights: 1 - (weights @ mean) / (weights @ whole)


def macro_f1(predicted: Sequence[Sequence[int]], labels: Sequence[int], classes: int) -> Score:
    """F1, the mean over classes, from the classes, of so many, predicted for each seed and item.

    F1 = 2 right / (predicted + there), of the classes that are there or predicted, as scikit-learn has it.
    """
    there = _one_hot(labels, classes)

    def score(weights: Tensor) -> Tensor:
        found = []
        for answers in predicted:
            said = _one_hot(answers, classes)
            right, count = weights @ (said * there), weights @ (said + there)  # [draws, classes]
            found.append((2 * right / count.clamp(min=1)).sum(-1) / (count > 0).sum(-1))
        return torch.stack(found).mean(0)

    return score


def _one_hot(numbers: Sequence[int], classes: int) -> Tensor:
    """float64 [items, classes]."""
    return torch.nn.functional.one_hot(torch.tensor(numbers), classes).double()


def written(numbers: Sequence[int]) -> str:
    """Small numbers, one for each test item, in one line of JSON instead of thousands."""
    return " ".join(map(str, numbers))


def read(line: str) -> list[int]:
    """The reverse of `written`."""
    return [int(number) for number in line.split()]
