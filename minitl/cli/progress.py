"""Progress bars with loss, rate, speed and memory while a model trains."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from minitl.training.memory import memory_in_use

if TYPE_CHECKING:
    from rich.console import Console

    from minitl.training.log import Step, Validation


class Bars:
    """One bar a training, redrawn in place on a terminal; on a pipe, one line when a training ends.

    Use as a context manager; `training(title)` gives a listener for `fit`.
    """

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def training(self, title: str) -> "Bar":
        """A listener that draws one training."""
        task = self._progress.add_task(title, total=None, numbers="")

        def update(done: int, total: int, numbers: str) -> None:
            self._progress.update(task, completed=done, total=total, numbers=numbers)

        def say(line: str) -> None:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

        def finish(line: str) -> None:
            self._progress.update(task, visible=False)
            say(line)

        return Bar(title, update, say, finish)


class Bar:
    """Hears of one training's steps (`minitl.training.Listener`)."""

    def __init__(
        self,
        title: str,
        update: Callable[[int, int, str], None],
        say: Callable[[str], None],
        finish: Callable[[str], None],
    ) -> None:
        self._title, self._update, self._say, self._finish = title, update, say, finish
        self._steps, self._loss, self._validated = 0, 0.0, ""
        self._tokens, self._started = 0, time.perf_counter()

    def on_start(self, steps: int, done: int) -> None:
        self._steps, self._started = steps, time.perf_counter()
        if done:
            self._say(f"{self._title}  goes on from step {done} of {steps}")
        self._update(done, steps, "")

    def on_step(self, step: "Step") -> None:
        # A running mean over some ten steps: single batches jump too much to be read.
        self._loss = step.loss if not self._loss else 0.9 * self._loss + 0.1 * step.loss
        self._tokens += step.tokens
        speed = self._tokens / max(time.perf_counter() - self._started, 1e-9)
        memory = f"{memory_in_use() / 2**30:.1f} GiB"
        numbers = (
            f"loss {self._loss:.3f}  rate {step.learning_rate:.1e}  {speed:,.0f} tokens/s  {memory}{self._validated}"
        )
        self._update(step.step, self._steps, numbers)

    def on_validation(self, validation: "Validation") -> None:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in validation.metrics.items())
        self._validated = f"  validation {scores}"
        if validation.step >= self._steps:
            self._finish(f"{self._title}  loss {self._loss:.3f}  validation {scores}")
