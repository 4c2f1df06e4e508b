"""A training in lines of text: one after each validation, for a notebook, a file or a pipe."""

from collections.abc import Callable

from minitl.training.log import Step, Validation

MEMORY = 0.9  # of the running mean of the training loss, some ten steps: single batches jump too much to be read


class Lines:
    """A `Listener` that says where the training stands after each validation.

    title   begins each line
    say     takes the lines
    """

    def __init__(self, title: str = "", say: Callable[[str], None] = print) -> None:
        self._title, self._say = title, say
        self.steps, self.done = 0, 0
        self.loss: float | None = None  # the running mean
        self._validated = False

    def on_start(self, steps: int, done: int) -> None:
        self.steps, self.done = steps, done
        if done:
            self._tell(f"goes on from step {done} of {steps}")

    def on_step(self, step: Step) -> None:
        self.done = step.step
        self.loss = step.loss if self.loss is None else MEMORY * self.loss + (1 - MEMORY) * step.loss

    def on_validation(self, validation: Validation) -> None:
        self._validated = True
        scores = "".join(f"  {name} {value:.3f}" for name, value in validation.metrics.items())
        self._tell(
            f"step {validation.step} of {self.steps}  epoch {validation.epoch:.3g}  {self.training}"
            f"validation loss {validation.loss:.3f}{scores}"
        )

    def close(self) -> None:
        """Say how a training without validations ended."""
        if not self._validated and self.done:
            self._tell(f"step {self.done} of {self.steps}  {self.training}")

    @property
    def training(self) -> str:
        return "" if self.loss is None else f"training loss {self.loss:.3f}  "

    def _tell(self, what: str) -> None:
        self._say((f"{self._title}  {what}" if self._title else what).rstrip())
