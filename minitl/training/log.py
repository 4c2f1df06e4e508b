"""What happened, step by step, in files that a plot or a spreadsheet reads.

log.jsonl    every event, one JSON object a line: {"event": "step" | "validation", …}
steps.csv    the training steps alone
"""

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from minitl.checkpoints.atomic import replacing

LOG, STEPS = "log.jsonl", "steps.csv"


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    epoch   in fractions, from 0
    loss    the mean over the step's targets
    tokens  read in it, padding not counted
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int


@dataclass(frozen=True)
class Validation:
    """One evaluation.

    epoch    in fractions; 1 = after the first
    loss     the mean over the split's targets
    metrics  the task's
    """

    step: int
    epoch: float
    loss: float
    metrics: dict[str, float]


class Listener(Protocol):
    """Something that wants to know while it happens, such as a progress bar."""

    def on_start(self, steps: int, done: int) -> None:
        """Training begins: `steps` optimiser steps in all, `done` of them in an earlier, interrupted run."""

    def on_step(self, step: Step) -> None:
        """An optimiser step was taken."""

    def on_validation(self, validation: Validation) -> None:
        """The model was evaluated."""


@dataclass
class History:
    """Everything logged so far."""

    steps: list[Step] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"steps": [asdict(s) for s in self.steps], "validations": [asdict(v) for v in self.validations]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        return cls([Step(**s) for s in values["steps"]], [Validation(**v) for v in values["validations"]])

    def add(self, event: Step | Validation, folder: Path | None) -> None:
        """Note what happened, in the files of `folder`, too, as `write` left them there."""
        if isinstance(event, Step):
            self.steps.append(event)
        else:
            self.validations.append(event)
        if folder is None:
            return
        with open(folder / LOG, "a", encoding="utf-8") as file:
            file.write(_line(event))
        if isinstance(event, Step):
            with open(folder / STEPS, "a", newline="", encoding="utf-8") as file:
                _rows(file).writerow(asdict(event))

    def write(self, folder: Path) -> None:
        """Write log.jsonl and steps.csv anew, in the order in which things happened: a state may be older than they."""
        events: list[Step | Validation] = [*self.steps, *self.validations]
        events.sort(key=lambda event: event.step)  # stable: an evaluation stays behind the step that it follows
        with replacing(folder / LOG) as beside:
            beside.write_text("".join(map(_line, events)), encoding="utf-8")
        with replacing(folder / STEPS) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
            writer = _rows(file)
            writer.writeheader()
            writer.writerows(map(asdict, self.steps))


def _line(event: Step | Validation) -> str:
    return json.dumps({"event": "step" if isinstance(event, Step) else "validation", **asdict(event)}) + "\n"


def _rows(file: TextIO) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, fieldnames=list(Step.__dataclass_fields__))
