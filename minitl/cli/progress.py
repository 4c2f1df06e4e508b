"""Progress bars with loss, rate, speed and memory while a model trains."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from minitl.training.lines import Lines
from minitl.training.memory import memory_in_use

if TYPE_CHECKING:
    from rich.console import Console

    from minitl.training.log import Step, Validation

BAR, TIME, GAPS = 12, 8, 4  # columns of the bar, of the time left, and between all parts


class Bars:
    """One bar a training, redrawn in place on a terminal; there and on a pipe, lines that stay.

    Use as a context manager; `training(title)` gives a listener for `fit`.
    """

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR),
            TextColumn("{task.fields[count]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}", markup=False),
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

    def training(self, title: str, each: bool = False) -> "Bar":
        """A listener that draws one training, and says a line for each validation, or for the last alone."""
        task = self._progress.add_task(title, total=None, count="", numbers="")

        def update(done: int, total: int, parts: list[str]) -> None:
            count = f"{done}/{total}"
            room = self.console.width - len(title) - BAR - len(count) - TIME - GAPS
            self._progress.update(task, completed=done, total=total, count=count, numbers=fitting(parts, room))

        def say(line: str) -> None:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

        return Bar(title, each, update, say, lambda: self._progress.update(task, visible=False))


class Bar(Lines):
    """Hears of one training's steps (`minitl.training.Listener`)."""

    def __init__(
        self,
        title: str,
        each: bool,
        update: Callable[[int, int, list[str]], None],
        say: Callable[[str], None],
        hide: Callable[[], None],
    ) -> None:
        super().__init__(title, say)
        self._each, self._update, self._hide = each, update, hide
        self._validation = ""
        self._tokens, self._started = 0, time.perf_counter()

    def on_start(self, steps: int, done: int) -> None:
        super().on_start(steps, done)
        self._started = time.perf_counter()
        self._update(done, steps, [])

    def on_step(self, step: "Step") -> None:
        super().on_step(step)
        self._tokens += step.tokens
        speed = self._tokens / max(time.perf_counter() - self._started, 1e-9)
        memory = f"{memory_in_use() / 2**30:.1f} GiB"
        parts = [
            f"loss {self.loss:.3f}",
            self._validation,
            f"{speed:,.0f} tokens/s",
            f"rate {step.learning_rate:.1e}",
            memory,
        ]
        self._update(step.step, self.steps, [part for part in parts if part])

    def on_validation(self, validation: "Validation") -> None:
        self._validation = f"validation {validation.loss:.3f}"
        last = validation.step >= self.steps
        if self._each or last:
            super().on_validation(validation)
        if last:
            self._hide()

    def close(self) -> None:
        super().close()
        self._hide()


def fitting(parts: list[str], room: int) -> str:
    """As many of the first parts as have room, two blanks between them."""
    while parts and len("  ".join(parts)) > room:
        parts = parts[:-1]
    return "  ".join(parts)
