"""The range test: rates rise by one factor, and what it recommends follows from the losses."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import RangeTest, Settings, range_test


def test_rates_rise_from_the_lowest_to_the_highest(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    found = range_test(classifier(), examples, task=task, settings=Settings(batch_size=8, patience=2), steps=30)
    factors = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert found.rates[0] == pytest.approx(1e-7)
    assert factors == pytest.approx([1e7 ** (1 / 29)] * len(factors))
    assert len(found.rates) == len(found.losses) == len(found.smoothed) > 15
    assert found.fastest <= found.lowest
    found.write(tmp_path / "rates.csv")
    with open(tmp_path / "rates.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == found.rates


def test_a_hopeless_rate_ends_it(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example], monkeypatch
) -> None:
    losses, calls = task.loss, [0]

    def rising(output: object, targets: object) -> object:
        calls[0] += 1
        loss, count = losses(output, targets)  # type: ignore[arg-type]
        return loss * max(1, calls[0] - 10) ** 3, count

    monkeypatch.setattr(task, "loss", rising)
    found = range_test(classifier(), examples, task=task, settings=Settings(batch_size=8), steps=60)
    assert 10 < len(found.rates) < 30
    assert found.smoothed[-1] > 4 * min(found.smoothed)


def test_what_is_recommended() -> None:
    smoothed = [1.0, 0.99, 0.9, 0.6, 0.55, 0.54, 0.8, 2.0]
    found = RangeTest([10.0**i for i in range(8)], smoothed, smoothed)
    assert (found.fastest, found.lowest) == (1e3, 1e5)


def test_a_loss_that_only_varies_recommends_nothing() -> None:
    rates = [10.0**i for i in range(30)]

    def found(smoothed: list[float], varies: float) -> RangeTest:
        return RangeTest(rates, [loss + varies * (-1) ** i for i, loss in enumerate(smoothed)], smoothed)

    flat, falling = [0.7] * 30, [0.7] * 20 + [0.6] * 5 + [0.9] * 5
    assert not RangeTest([], [], []).falls
    assert not found(flat, 0.001).falls
    assert not found([0.7] * 20 + [0.68] * 10, 0.001).falls  # not by a twentieth
    assert found(falling, 0.02).falls
    assert not found(falling, 0.2).falls  # by less than from one batch to the next
    assert found(falling, 0.02).fastest < found(falling, 0.02).lowest


def test_too_few_steps(classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example]) -> None:
    with pytest.raises(InputError, match="at least 10 steps"):
        range_test(classifier(), examples, task=task, steps=3)
