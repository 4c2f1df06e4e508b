"""--restart: nothing of the training before is left to go on from, and what is interrupted goes on."""

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from minitl.cli.main import main
from minitl.training.fit import Training

EPOCHS = 3
STEPS = 24  # of 64 texts in batches of 8


class Killed(BaseException):
    """Nothing is saved any more."""


Train = Callable[..., int]


@pytest.fixture
def train(tiny: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains as a user types it; before step `at` it is killed, or a signal comes. `run.steps` were taken."""

    def run(out: Path, *more: str, killed_at: int = -1, signal_at: int = -1) -> int:
        options = ["--data", str(reviews), "--out", str(out), "--epochs", str(EPOCHS), "--batch-size", "8", *more]
        return call(["train", str(tiny), *options], killed_at, signal_at)

    def call(words: list[str], killed_at: int = -1, signal_at: int = -1) -> int:
        def step(training: Training, window: list[list[int]]) -> None:
            at = training.progress.step + 1
            if at == killed_at:
                raise Killed
            if at == signal_at:
                signal.raise_signal(signal.SIGTERM)
            taken.append(at)
            as_ever(training, window)

        taken.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Training, "step", step)
            patched.setattr("sys.argv", ["minitl", *words])
            return main(words)

    as_ever = Training.step
    taken: list[int] = []
    run.steps, run.call = taken, call  # type: ignore[attr-defined]
    return run


def weights(out: Path) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in load_file(out / "model" / "model.safetensors").items()}


def test_a_restart_that_was_interrupted_goes_on_by_the_command_that_it_says(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(out, "--seed", "1") == 0
    assert train(out, "--restart", signal_at=11) == 143
    assert not (out / "training.json").exists()
    command = shlex.split(capsys.readouterr().err.partition("go on from there with: ")[2])
    assert command[0] == "minitl"
    assert train.call(command[1:]) == 0  # type: ignore[attr-defined]
    assert train.steps == list(range(12, STEPS + 1))  # type: ignore[attr-defined]
    assert json.loads((out / "training.json").read_text())["recipe"]["training"]["seed"] == 0
    assert train(tmp_path / "unbroken") == 0
    assert weights(out) == weights(tmp_path / "unbroken")


def test_a_restart_that_was_killed_before_its_first_state_leaves_none_of_another(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out, signal_at=11) == 143
    assert list((out / "states").iterdir())
    with pytest.raises(Killed):
        train(out, "--restart", killed_at=5)
    assert not (out / "states").exists()
    assert train(out) == 0
    assert train.steps == list(range(1, STEPS + 1))  # type: ignore[attr-defined]


def test_a_restart_of_what_was_finished_is_no_longer_finished(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out) == 0
    with pytest.raises(Killed):
        train(out, "--restart", killed_at=5)
    assert train(out) == 0


def test_a_restart_that_diverges_leaves_no_facts_of_the_result_before(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out) == 0
    assert train(out, "--restart", "--learning-rate", "1e30", "--warmup", "0") == 1
    assert not (out / "training.json").exists()


def test_what_is_refused_before_it_begins_leaves_the_result_before(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out) == 0
    assert train(out, "--restart", "--max-length", "5000") == 1
    assert (out / "training.json").exists()


def test_to_begin_anew_is_not_to_go_on_all_the_same(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "out", "--restart", "--force") == 1
    assert "--restart begins anew, --force goes on all the same: one of the two" in capsys.readouterr().err
    assert train.steps == []  # type: ignore[attr-defined]


def test_under_torchrun_the_hint_is_without_restart(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for options, says in (([], "with: the same torchrun command\n"), (["--restart"], "command, without --restart\n")):
        assert train(tmp_path / "out", *options, signal_at=3) == 143
        assert capsys.readouterr().err.endswith(says)
