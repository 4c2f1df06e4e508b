"""A finished study in numbers: means over seeds, intervals, and the noise that a difference has to exceed.

`read_study` turns the dictionary of results.json into a `Study`, which the page, the plots, the claims and the table in
the terminal all read. Accuracies are shares in 0..1 throughout; only what is shown becomes percent.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

from minitl.errors import InputError
from minitl.pages.formats import printable

FORMAT = 1
SCRATCH = "scratch"  # the one arm that transfers nothing
CONFIDENCE = 0.95
REQUIRED = {
    "model": ("source",),
    "data": ("name", "train", "validation", "test", "label_names"),
    "machine": ("cores", "threads"),
}


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


@dataclass(frozen=True)
class Arm:
    """One of the study's regimes, with its runs on all labels."""

    name: str
    title: str
    description: str
    learning_rate: float
    trainable: int
    total: int
    percent: float
    runs: tuple[dict[str, Any], ...]

    def measured(self, field: str) -> Measured:
        """`field` of every run on all labels: "accuracy", "f1", "seconds", …"""
        return Measured(tuple(_number(run.get(field)) for run in self.runs))

    @property
    def accuracy(self) -> Measured:
        return self.measured("accuracy")

    @property
    def short(self) -> str:
        """The title without its details, for plots and narrow columns: "LoRA" of "LoRA (r = 16, all linear layers)"."""
        return re.split(r" [(+]", self.title, maxsplit=1)[0]


@dataclass(frozen=True)
class Study:
    """The results, in the shape in which they are shown."""

    results: dict[str, Any]
    arms: tuple[Arm, ...]
    test_size: int
    full_labels: int  # the most labels any run trained on
    baseline: float  # accuracy of always giving one answer
    baseline_name: str
    curve: dict[str, dict[int, Measured]]  # arm -> number of labels, ascending -> accuracy over seeds

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def transfer_arms(self) -> tuple[Arm, ...]:
        return tuple(arm for arm in self.arms if arm.name != SCRATCH)

    @property
    def best_transfer(self) -> Arm | None:
        """The transfer arm that validation prefers: the test set has no say in which arm speaks for transfer."""
        known = [arm for arm in self.transfer_arms if arm.measured("validation_accuracy")]
        return max(known, key=lambda arm: arm.measured("validation_accuracy").mean, default=None)

    @property
    def seeds(self) -> int:
        return max((len(arm.runs) for arm in self.arms), default=0)


def read_study(results: dict[str, Any]) -> Study:
    """Check the dictionary of results.json and prepare it. Raises InputError naming what is absent or wrong."""
    if results.get("format") != FORMAT:
        raise InputError(f"results: field 'format': expected {FORMAT}, found {results.get('format')!r}")
    try:
        for part, fields in REQUIRED.items():
            for field in fields:
                results[part][field]
        for part in ("name", "created", "command", "settings", "total_seconds"):
            results[part]
        data = results["data"]
        full = max((run["labels"] for arm in results["arms"] for run in arm["runs"]), default=data["train"])
        arms = tuple(_read_arm(arm, full) for arm in results["arms"])
        majority = data.get("majority")  # share of the most frequent label in the test set
        return Study(
            results=results,
            arms=arms,
            test_size=int(data["test"]),
            full_labels=int(full),
            baseline=1 / len(data["label_names"]) if majority is None else float(majority),
            baseline_name="chance" if majority is None else "majority",
            curve=_read_curve(results.get("learning_curve") or [], arms),
        )
    except KeyError as error:
        raise InputError(f"results: field {error} is missing") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"results: not the layout of results.json format {FORMAT}: {error}") from error


def _read_arm(arm: dict[str, Any], full: int) -> Arm:
    return Arm(
        name=str(arm["arm"]),
        title=printable(arm["title"]),
        description=printable(arm.get("description") or ""),
        learning_rate=_number(arm["learning_rate"]),
        trainable=int(arm["trainable"]),
        total=int(arm["total"]),
        percent=_number(arm["percent"]),
        runs=tuple(run for run in arm["runs"] if run["labels"] == full),
    )


def _read_curve(points: Iterable[dict[str, Any]], arms: Iterable[Arm]) -> dict[str, dict[int, Measured]]:
    """Accuracy by arm and number of labels; a run on all labels counts once, listed in the curve or not."""
    seen: dict[str, dict[int, dict[Any, float]]] = {}
    runs = ({"arm": arm.name, **run} for arm in arms for run in arm.runs)
    for point in (*runs, *points):
        by_labels = seen.setdefault(point["arm"], {})
        by_labels.setdefault(int(point["labels"]), {})[point["seed"]] = _number(point["accuracy"])
    return {
        arm: {labels: Measured(tuple(by_labels[labels].values())) for labels in sorted(by_labels)}
        for arm, by_labels in seen.items()
    }


def _number(value: Any) -> float:
    """JSON has no NaN: what could not be measured arrives as null."""
    return math.nan if value is None else float(value)


def interval(share: float, size: int) -> tuple[float, float]:
    """The 95% interval of a share observed in `size` test examples (Wilson 1927), as (low, high)."""
    if not math.isfinite(share) or size <= 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return centre - half, centre + half


def noise(first: Measured, second: Measured, size: int, comparisons: int = 1) -> float:
    """Half the width of the 95% interval of the difference of two mean accuracies, each on `size` test examples.

    It adds the sampling of the test set, as if each had its own (an overestimate: the arms share one), and the spread
    over seeds where there are several. Two or three seeds say little about their own spread: the quantile is Student's,
    its degrees of freedom those of Welch (1947), infinite for the test set's share. `comparisons` widens it for the
    best of several arms (Bonferroni). The variance of a share uses two successes and two failures more (Agresti &
    Caffo 2000), so that 100% right is not free of noise.
    """
    from scipy.stats import t

    variance = uncertainty = 0.0
    for measured in (first, second):
        share = (measured.mean * size + 2) / (size + 4)
        variance += share * (1 - share) / size
        if math.isfinite(measured.spread):
            of_mean = measured.spread**2 / len(measured.values)
            variance += of_mean
            uncertainty += of_mean**2 / (len(measured.values) - 1)
    freedom = variance**2 / uncertainty if uncertainty else math.inf
    return float(t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), freedom)) * math.sqrt(variance)
