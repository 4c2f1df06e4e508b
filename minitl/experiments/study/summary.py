"""A finished study in numbers: means over seeds, intervals, and the noise that a difference has to exceed.

`read_study` turns the dictionary of results.json into a `Study`, which the page, the plots, the claims and the table in
the terminal all read. Accuracies are shares in 0..1 throughout; only what is shown becomes percent.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minitl.errors import InputError
from minitl.experiments.statistics import Measured
from minitl.experiments.study.arms import short
from minitl.pages.formats import printable

FORMAT = 1
SCRATCH = "scratch"  # the one arm that transfers nothing
REQUIRED = {
    "model": ("source",),
    "data": ("name", "train", "validation", "test", "label_names"),
    "machine": ("cores", "threads"),
}


@dataclass(frozen=True)
class MeasuredArm:
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
        return short(self.title)


@dataclass(frozen=True)
class Study:
    """The results, in the shape in which they are shown."""

    results: dict[str, Any]
    arms: tuple[MeasuredArm, ...]
    test_size: int
    full_labels: int  # the most labels any run trained on
    baseline: float  # accuracy of always giving one answer
    baseline_name: str
    curve: dict[str, dict[int, Measured]]  # arm -> number of labels, ascending -> accuracy over seeds

    def arm(self, name: str) -> MeasuredArm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def transfer_arms(self) -> tuple[MeasuredArm, ...]:
        return tuple(arm for arm in self.arms if arm.name != SCRATCH)

    @property
    def best_transfer(self) -> MeasuredArm | None:
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


def _read_arm(arm: dict[str, Any], full: int) -> MeasuredArm:
    return MeasuredArm(
        name=str(arm["arm"]),
        title=printable(arm["title"]),
        description=printable(arm.get("description") or ""),
        learning_rate=_number(arm["learning_rate"]),
        trainable=int(arm["trainable"]),
        total=int(arm["total"]),
        percent=_number(arm["percent"]),
        runs=tuple(run for run in arm["runs"] if run["labels"] == full),
    )


def _read_curve(points: Iterable[dict[str, Any]], arms: Iterable[MeasuredArm]) -> dict[str, dict[int, Measured]]:
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
