"""What happened, step by step, in files that a plot or a spreadsheet reads.

log.jsonl    every event, one JSON object a line: {"event": "step" | "validation", …}
steps.csv    the training steps alone
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from minitl.checkpoints.atomic import replacing


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
    """Everything logged so far; written to a folder as it stands, whole."""

    steps: list[Step] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"steps": [asdict(s) for s in self.steps], "validations": [asdict(v) for v in self.validations]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        return cls([Step(**s) for s in values["steps"]], [Validation(**v) for v in values["validations"]])

    def write(self, folder: Path) -> None:
        """Write log.jsonl and steps.csv into `folder`, in the order in which things happened."""
        events: list[dict[str, Any]] = [{"event": "step", **asdict(s)} for s in self.steps]
        events += [{"event": "validation", **asdict(v)} for v in self.validations]
        events.sort(key=lambda e: e["step"])  # stable: an evaluation stays behind the step that it follows
        with replacing(folder / "log.jsonl") as beside:
            beside.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
        with replacing(folder / "steps.csv") as beside:
            _write_csv(beside, [asdict(s) for s in self.steps])


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Step.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(rows)
