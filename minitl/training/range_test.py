"""How high a learning rate may be: raise it step by step and watch the loss (Smith 2017, section 3.3).

The loss first stands, then falls, and rises again once the rate is too high. Where it falls fastest is a good rate;
where it is lowest is already too much for a whole training.
"""

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minitl.checkpoints.atomic import replacing
from minitl.data import Stream
from minitl.errors import Diverged, InputError
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.engine import ALONE
from minitl.training.fit import prepare
from minitl.training.settings import Settings
from minitl.training.strategies import FULL, Strategy

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
MEMORY = 0.9  # of the running mean by which the losses are smoothed
HOPELESS = 4.0  # times the lowest loss: the test ends
IDLE = 10  # the first steps, whose rates are too low to change anything: how the loss varies by itself
CLEAR = 0.05  # of the loss: the least by which it must fall


@dataclass(frozen=True)
class RangeTest:
    """rates, losses, smoothed   of each step
    falls                    whether the loss falls, by a twentieth of itself and by more than it varies from one batch
                             to the next; else the other two say nothing
    fastest                  the rate at which the smoothed loss falls fastest: the peak to try
    lowest                   the rate of the lowest smoothed loss: the largest that did not yet do harm
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    @property
    def falls(self) -> bool:
        idle = self.losses[:IDLE]
        if not idle:  # the very first loss was no number
            return False
        mean = statistics.fmean(idle)
        return mean - min(self.smoothed) > max(CLEAR * abs(mean), statistics.pstdev(idle))

    @property
    def fastest(self) -> float:
        ends = range(1, self.smoothed.index(min(self.smoothed)))
        return self.rates[min(ends, key=lambda i: self.smoothed[i] - self.smoothed[i - 1], default=0)]

    @property
    def lowest(self) -> float:
        return self.rates[self.smoothed.index(min(self.smoothed))]

    def write(self, path: Path) -> None:
        """A line a step, as CSV."""
        with replacing(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["learning_rate", "loss", "smoothed"])
            writer.writerows(zip(self.rates, self.losses, self.smoothed, strict=True))


def range_test(
    model: Model,
    train: Sequence[Any] | Stream[Any],
    *,
    task: Task[Any, Any],
    settings: Settings | None = None,
    strategy: Strategy = FULL,
    steps: int = STEPS,
    listener: Callable[[RangeTest], None] | None = None,
) -> RangeTest:
    """Take up to `steps` steps of `fit` at rates that rise from 1e-7 to 1, each by the same factor.

    The test ends early where the loss is no longer finite or four times its lowest. The model is worse for it: load it
    again. `listener` is told after each step what there is so far, and may raise. InputError for fewer than ten steps;
    else as in `fit`.
    """
    if steps < 10:
        raise InputError(f"a range test needs at least 10 steps, got {steps}")
    wanted = replace(settings or Settings(), explosion=0.0, warmup=0.0, learning_rate=HIGHEST, steps=steps)
    wanted = replace(wanted, evaluate_every=None, patience=None)
    run = prepare(model, train, None, task, wanted, strategy, None, ALONE, None)
    run.rate = lambda step: LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
    found, mean = RangeTest([], [], []), 0.0
    while len(found.rates) < steps:
        for window in run.windows_left()[: steps - len(found.rates)]:
            try:
                run.step(window)
            except Diverged:
                return found
            taken = run.progress.history.steps[-1]
            mean = MEMORY * mean + (1 - MEMORY) * taken.loss
            found.rates.append(taken.learning_rate)
            found.losses.append(taken.loss)
            found.smoothed.append(mean / (1 - MEMORY ** len(found.rates)))  # as if the mean had not begun at 0
            if listener is not None:
                listener(found)
            if found.smoothed[-1] > HOPELESS * min(found.smoothed):
                return found
        run.end_epoch()
    return found
