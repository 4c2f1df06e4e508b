"""What was measured once per seed, and the noise that a difference of two such measurements has to exceed."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """One quantity, measured once per seed. A seed without a finite value makes the mean NaN: it is not left out."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; NaN with fewer than two of them."""
        return stdev(self.values) if len(self.values) > 1 and math.isfinite(self.mean) else math.nan

    @property
    def largest(self) -> float:
        return max(self.values) if self.values and math.isfinite(self.mean) else math.nan

    def __bool__(self) -> bool:
        return math.isfinite(self.mean)


def normal_quantile(comparisons: int = 1) -> float:
    """Half the width of the 95% interval in standard deviations, 1.96; wider where one of several could err."""
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * comparisons))


def interval(share: float, size: int) -> tuple[float, float]:
    """The 95% interval of a share observed in `size` test examples (Wilson 1927), as (low, high)."""
    if not math.isfinite(share) or size <= 0:
        return math.nan, math.nan
    z = normal_quantile()
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return centre - half, centre + half


def commonest(answers: Iterable[Hashable]) -> float:
    """The share of the commonest answer: what saying it always comes to."""
    counted = Counter(answers)
    return counted.most_common(1)[0][1] / counted.total()


def mean_interval(measured: Measured, size: int) -> tuple[float, float]:
    """The 95% interval of a mean accuracy on `size` test examples: Wilson's, and wider by the spread over seeds."""
    low, high = interval(measured.mean, size)
    if not (math.isfinite(low) and math.isfinite(measured.spread)):
        return low, high
    half = margin(measured, Measured(()), ((high - low) / 2 / normal_quantile()) ** 2)
    centre = (low + high) / 2
    return max(0.0, centre - half), min(1.0, centre + half)


def noise(first: Measured, second: Measured, size: int, comparisons: int = 1) -> float:
    """Half the width of the 95% interval of the difference of two mean accuracies, each on `size` test examples.

    It adds the sampling of the test set, as if each had its own (an overestimate: the arms share one), and the spread
    over seeds where there are several. Two or three seeds say little about their own spread: the quantile is Student's,
    its degrees of freedom those of Welch (1947), infinite for the test set's share. `comparisons` widens it for the
    best of several arms (Bonferroni). The variance of a share uses one success and one failure more (Agresti & Caffo
    2000), so that 100% right is not free of noise.
    """
    shares = [(measured.mean * size + 1) / (size + 2) for measured in (first, second)]
    return margin(first, second, sum(share * (1 - share) / (size + 2) for share in shares), comparisons)


def margin(first: Measured, second: Measured, sampling: float = 0.0, comparisons: int = 1) -> float:
    """The same for any quantity: `sampling` is the variance that the choice of test examples gives the difference.

    Infinite where that is 0 and there are not several seeds: then nothing is known of the noise.
    """
    from scipy.stats import t

    spreads = [measured for measured in (first, second) if math.isfinite(measured.spread)]
    if not sampling and not spreads:
        return math.inf
    variance, uncertainty = sampling, 0.0
    for measured in spreads:
        if measured.spread:
            of_mean = measured.spread**2 / len(measured.values)
            variance += of_mean
            uncertainty += of_mean**2 / (len(measured.values) - 1)
    freedom = variance**2 / uncertainty if uncertainty else math.inf
    return float(t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), freedom)) * math.sqrt(variance)
