"""What TensorBoard is told, and shows: every step and validation once, however often the training was interrupted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minitl import fit
from minitl.data import Example
from minitl.errors import Interrupted
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import FULL, History, Settings, Step
from minitl.training.engine import Engine
from minitl.training.fit import prepare
from tests.training.test_fit import Listening

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

SETTINGS = Settings(epochs=2, batch_size=8, learning_rate=3e-3, tensorboard=True)  # 12 steps
Train = Callable[..., History]


class Killed(BaseException):
    """Nothing is saved any more."""


class Dying(Listening):
    """Killed in step `at` + 1, which the board never hears of."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def on_step(self, step: Step) -> None:
        if step.step > self.at:
            raise Killed


@pytest.fixture
def train(
    classifier: Callable[[], Model],
    task: SequenceClassification,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """Trains; what the board is told is on the disk at once.

    Files of one second are told apart by a number that the process counts up, and sorted as text, 10 before 9: here it
    begins at 0 for each test.
    """
    from tensorboard.summary.writer import event_file_writer
    from torch.utils.tensorboard import SummaryWriter

    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))

    class Prompt(SummaryWriter):  # type: ignore[misc]
        def add_scalar(self, *words: object) -> None:
            super().add_scalar(*words)
            self.flush()

    def run(settings: Settings = SETTINGS, **options: object) -> History:
        chosen = {"task": task, "settings": settings, "folder": tmp_path, **options}
        return fit(classifier(), examples, examples[:8], **chosen).history  # type: ignore[arg-type]

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Prompt)
    return run


def shown(folder: Path, run: str, name: str) -> list[tuple[int, float]]:
    log = event_accumulator.EventAccumulator(str(folder / "tensorboard" / run))
    log.Reload()
    return [(event.step, event.value) for event in log.Scalars(name)]


def check(folder: Path, history: History) -> None:
    """What is shown is what happened, each once."""
    for name in ("loss", "learning_rate", "grad_norm", "tokens", "epoch"):
        found = shown(folder, "train", name)
        assert [step for step, _ in found] == [step.step for step in history.steps]
        assert [value for _, value in found] == pytest.approx([getattr(step, name) for step in history.steps])
    found = shown(folder, "validation", "accuracy")
    assert [step for step, _ in found] == [v.step for v in history.validations]
    assert [value for _, value in found] == pytest.approx([v.metrics["accuracy"] for v in history.validations])
    assert [step for step, _ in shown(folder, "validation", "loss")] == [v.step for v in history.validations]


def test_every_step_and_validation_is_there(train: Train, tmp_path: Path) -> None:
    history = train()
    assert [step.step for step in history.steps] == list(range(1, 13))
    check(tmp_path, history)


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (7, {"save_every": 4}),  # a validation and a step beyond the state
        (11, {"save_every": 4}),
        (4, {"save_every": 4, "evaluate_every": 4}),  # the validation follows the state of its own step
        (10, {"save_every": 4, "evaluate_every": 4}),
        (7, {"save_every": 4, "evaluate_every": 3}),
        (5, {}),  # before the first state
    ],
)
def test_a_run_that_was_killed_shows_nothing_twice(
    train: Train, tmp_path: Path, at: int, changes: dict[str, int]
) -> None:
    settings = replace(SETTINGS, **changes)
    with pytest.raises(Killed):
        train(settings, listener=Dying(at))
    assert [step for step, _ in shown(tmp_path, "train", "loss")] == list(range(1, at + 1))
    history = train(settings, resume=True)
    assert [step.step for step in history.steps] == list(range(1, 13))
    check(tmp_path, history)


def test_a_run_that_was_stopped_goes_on_where_it_was(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(listener=Listening(stop_at=9))
    assert len(shown(tmp_path, "train", "loss")) == 9
    check(tmp_path, train(resume=True))


def test_what_begins_anew_shows_nothing_of_what_was(train: Train, tmp_path: Path) -> None:
    train(replace(SETTINGS, evaluate_every=2))
    check(tmp_path, train(replace(SETTINGS, epochs=1)))


def test_of_several_processes_the_first_alone_writes(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    engine = Engine()
    for rank, writers in ((0, 1), (1, 0)):
        engine.rank = rank
        run = prepare(classifier(), examples, None, task, SETTINGS, FULL, tmp_path, engine, None)
        assert len(run.listeners) == writers
