"""Ratios that were measured again and again: their median, and how far it can be trusted.

Times on a machine that others use have outliers on one side; their order says more than their mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from minitl.experiments.statistics import CONFIDENCE


@dataclass(frozen=True)
class Ratio:
    """The median of several measurements, and its 95% interval; NaN where they are too few for one, below six."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f} to {self.high:.2f})"


def ratio_of(values: Sequence[float]) -> Ratio:
    """Between two of the sorted values, as many from either end, which the median lies between in 95 of 100 cases.

    Each value lies below the true median as often as above, so that the number below is binomial, whatever the values'
    distribution (Thompson 1936).
    """
    ordered, count = sorted(values), len(values)
    outside = 0.0  # the probability that fewer than so many values lie on one side, times two
    cut = 0
    for below in range(count // 2):
        outside += 2 * math.comb(count, below) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        cut = below + 1
    if not cut:
        return Ratio(median(ordered) if ordered else math.nan, math.nan, math.nan)
    return Ratio(median(ordered), ordered[cut - 1], ordered[-cut])
