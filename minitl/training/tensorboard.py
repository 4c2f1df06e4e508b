"""The log as TensorBoard reads it: `tensorboard --logdir OUT`.

    OUT/tensorboard/   train        loss, learning_rate, grad_norm, tokens and epoch of every step
                       validation   loss and the task's metrics

They are two runs, so that each can be cut where it goes on: a validation may be heard again of whose step the state is.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minitl.errors import InputError
from minitl.training.log import Step, Validation

FOLDER = "tensorboard"
OF_STEPS = ("loss", "learning_rate", "grad_norm", "tokens", "epoch")


class TensorBoard:
    """Writes what it hears into OUT/tensorboard; of what an interrupted run wrote, what is heard again is not shown."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("tensorboard = true needs the package of that name: pip install tensorboard") from error
        self._folder, self._open = folder / FOLDER, SummaryWriter
        self._writers: dict[str, Any] = {}

    def on_start(self, steps: int, done: int) -> None:  # noqa: ARG002
        if not done and self._folder.exists():  # of a training before this one
            shutil.rmtree(self._folder)

    def on_step(self, step: Step) -> None:
        self._write("train", step.step, {name: getattr(step, name) for name in OF_STEPS})

    def on_validation(self, validation: Validation) -> None:
        self._write("validation", validation.step, {"loss": validation.loss, **validation.metrics})
        for writer in self._writers.values():
            writer.flush()

    def _write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        if run not in self._writers:  # what the run holds of this step and later ones is from before
            self._writers[run] = self._open(self._folder / run, purge_step=step)
        for name, value in values.items():
            self._writers[run].add_scalar(name, value, step)
