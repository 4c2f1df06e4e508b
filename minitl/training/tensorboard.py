"""The log as TensorBoard reads it: `tensorboard --logdir OUT`."""

import shutil
from pathlib import Path

from minitl.errors import InputError
from minitl.training.log import Step, Validation

FOLDER = "tensorboard"


class TensorBoard:
    """Writes what it hears into OUT/tensorboard; what an interrupted run wrote beyond its state is not shown."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("tensorboard = true needs the package of that name: pip install tensorboard") from error
        self._folder = folder / FOLDER
        self._open = lambda done: SummaryWriter(self._folder, purge_step=done + 1 if done else None)

    def on_start(self, steps: int, done: int) -> None:  # noqa: ARG002
        if not done and self._folder.exists():  # of a training before this one
            shutil.rmtree(self._folder)
        self._writer = self._open(done)

    def on_step(self, step: Step) -> None:
        for name in ("loss", "learning_rate", "grad_norm", "tokens", "epoch"):
            self._writer.add_scalar(f"train/{name}", getattr(step, name), step.step)

    def on_validation(self, validation: Validation) -> None:
        for name, value in {"loss": validation.loss, **validation.metrics}.items():
            self._writer.add_scalar(f"validation/{name}", value, validation.step)
        self._writer.flush()
