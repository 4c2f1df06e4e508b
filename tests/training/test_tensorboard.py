"""What TensorBoard is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from minitl import fit
from minitl.data import Example
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Settings

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_every_step_and_validation_is_there(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    settings = Settings(epochs=2, batch_size=8, learning_rate=3e-3, tensorboard=True)
    history = fit(classifier(), examples, examples[:8], task=task, settings=settings, folder=tmp_path).history
    log = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    assert [e.step for e in log.Scalars("train/loss")] == list(range(1, 13))
    assert [e.value for e in log.Scalars("train/loss")] == pytest.approx([s.loss for s in history.steps])
    assert [e.value for e in log.Scalars("validation/accuracy")] == (
        pytest.approx([v.metrics["accuracy"] for v in history.validations])
    )
