"""The files that tell of a training, step by step."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minitl import fit
from minitl.data import Example
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Lines, Settings, Step

QUICK = Settings(epochs=3, batch_size=8, learning_rate=3e-3)
Make = Callable[[], Model]


def test_the_log_tells_every_step_and_validation(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    result = fit(classifier(), examples, examples[:10], task=task, settings=QUICK, folder=tmp_path)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == (["step"] * 6 + ["validation"]) * 3
    with open(tmp_path / "steps.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["loss"]) for r in rows] == [s.loss for s in result.history.steps]
    assert [int(r["step"]) for r in rows] == list(range(1, 19))


def test_the_log_is_there_while_it_happens_and_a_resumed_one_tells_each_step_once(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    def told() -> list[int]:
        steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        with open(tmp_path / "steps.csv", newline="") as file:
            assert [int(row["step"]) for row in csv.DictReader(file)] == steps
        return steps

    class Reading(Lines):
        def on_step(self, step: Step) -> None:
            assert told() == list(range(1, step.step + 1))

    class Killed(Lines):
        def on_step(self, step: Step) -> None:
            if step.step == 6:
                raise KeyboardInterrupt

    settings = replace(QUICK, save_every=4)
    with pytest.raises(KeyboardInterrupt):  # as if killed: nothing is saved
        fit(classifier(), examples, task=task, settings=settings, folder=tmp_path, listener=Killed())
    assert told() == list(range(1, 7))
    fit(classifier(), examples, task=task, settings=settings, folder=tmp_path, listener=Reading(), resume=True)
    assert told() == list(range(1, 19))
