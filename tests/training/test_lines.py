"""A training in lines of text."""

from collections.abc import Callable

import pytest

from minitl import fit
from minitl.data import Example
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Lines, Settings, Step, Validation


def test_a_line_for_each_validation_with_both_losses() -> None:
    said: list[str] = []
    lines = Lines(" 1 names", said.append)
    lines.on_start(20, 10)
    lines.on_step(Step(11, 1.1, 2.0, 1e-3, 1.0, 100))
    lines.on_step(Step(12, 1.2, 1.0, 1e-3, 1.0, 100))
    lines.on_validation(Validation(12, 1.2, 0.5, {"accuracy": 0.75, "f1": 0.25}))
    lines.close()
    assert said == [
        " 1 names  goes on from step 10 of 20",
        " 1 names  step 12 of 20  epoch 1.2  training loss 1.900  validation loss 0.500  accuracy 0.750  f1 0.250",
    ]


def test_without_validations_the_end_says_the_training_loss() -> None:
    said: list[str] = []
    lines = Lines(say=said.append)
    lines.on_start(1, 0)
    lines.close()
    assert said == []
    lines.on_step(Step(1, 1.0, 0.5, 1e-3, 1.0, 100))
    lines.close()
    assert said == ["step 1 of 1  training loss 0.500"]


def test_they_listen_to_a_training_whose_result_is_short(
    classifier: Callable[[], Model],
    task: SequenceClassification,
    examples: list[Example],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(epochs=2, batch_size=8)
    result = fit(classifier(), examples, examples[:8], task=task, settings=settings, listener=Lines())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    last = result.history.validations[-1]
    assert lines[-1].endswith(f"validation loss {last.loss:.3f}  accuracy {last.metrics['accuracy']:.3f}  "
                              f"f1 {last.metrics['f1']:.3f}")  # fmt: skip
    assert len(repr(result)) < 300
    assert "Step(" not in repr(result)
