"""States on the disk: whole or not there, and the one before where the newest is damaged."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minitl import fit
from minitl.data import Example
from minitl.errors import CheckpointError, Interrupted, TrainingError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Settings
from minitl.training.state import saved_states

EVERY = Settings(epochs=2, batch_size=8, learning_rate=3e-3, save_every=1, keep=3)
Train = Callable[..., Model]


@pytest.fixture
def train(classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example]) -> Train:
    def run(folder: Path | None, settings: Settings = EVERY, stop_at: int = 0, **others: object) -> Model:
        class Stopping:
            def on_start(self, steps: int, done: int) -> None:  # noqa: ARG002
                heard.append(done)

            def on_step(self, step: object) -> None:
                if step.step == stop_at:  # type: ignore[attr-defined]
                    os.kill(os.getpid(), 15)

            def on_validation(self, validation: object) -> None:
                pass

        model = classifier()
        fit(model, examples, examples[:8], task=task, settings=settings, folder=folder, listener=Stopping(), **others)
        return model

    heard: list[int] = []
    run.heard = heard  # type: ignore[attr-defined]  # from which step each began
    return run


def same(one: Model, other: Model) -> bool:
    return all(p.equal(q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def stop(train: Train, folder: Path, at: int, settings: Settings = EVERY) -> list[Path]:
    with pytest.raises(Interrupted):
        train(folder, settings, stop_at=at)
    return saved_states(folder)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_last_few_are_kept(train: Train, tmp_path: Path, keep: int) -> None:
    states = stop(train, tmp_path, 7, replace(EVERY, keep=keep))
    assert len(states) == keep
    facts = json.loads((states[-1] / "state.json").read_text())
    assert facts["progress"]["step"] == 7


def harm(place: Path, how: str) -> None:
    tensors, facts = place / "state.safetensors", place / "state.json"
    if how == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif how == "a bit":
        content = bytearray(tensors.read_bytes())
        content[-50] ^= 4
        tensors.write_bytes(content)
    elif how == "no tensors":
        tensors.unlink()
    elif how == "facts":
        facts.write_text(facts.read_text().replace('"step": 5', '"step": 4'))
    elif how == "no json":
        facts.write_text("{")


@pytest.mark.parametrize("how", ["cut", "a bit", "no tensors", "facts", "no json"])
def test_a_damaged_one_is_passed_over_for_the_one_before(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    newest = stop(train, tmp_path, 5)[-1]
    harm(newest, how)
    with caplog.at_level(logging.WARNING, "minitl"):
        resumed = train(tmp_path, resume=True)
    assert str(newest) in caplog.text
    assert "goes on from the state before, of step" in caplog.text
    assert train.heard[-1] == 4  # type: ignore[attr-defined]
    assert same(resumed, train(None))


def test_where_all_are_damaged_it_says_so_and_begins_nothing(train: Train, tmp_path: Path) -> None:
    for place in stop(train, tmp_path, 5):
        harm(place, "cut")
    with pytest.raises(CheckpointError, match=r"no state in .* is whole: .* resume=False begins anew"):
        train(tmp_path, resume=True)


def test_what_differs_is_said_and_may_be_forced(train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop(train, tmp_path, 5)
    changed = replace(EVERY, learning_rate=1e-3, epochs=3)
    with pytest.raises(TrainingError, match=r"settings\.epochs was 2 and is 3, settings\.learning_rate was 0\.003 and"):
        train(tmp_path, changed, resume=True)
    with caplog.at_level(logging.WARNING, "minitl"):
        train(tmp_path, changed, resume="forced")
    assert "goes on with what differs: settings.epochs was 2 and is 3" in caplog.text
    assert train.heard[-1] == 5  # type: ignore[attr-defined]


def test_what_only_watches_may_change(train: Train, tmp_path: Path) -> None:
    stop(train, tmp_path, 5)
    watched = replace(EVERY, log_every=3, save_every=2, keep=1)
    assert same(train(tmp_path, watched, resume=True), train(None))
    stop(train, tmp_path / "other", 5)
    with pytest.raises(TrainingError, match=r"settings\.eval_batch_size was 64 and is 5"):
        train(tmp_path / "other", replace(EVERY, eval_batch_size=5), resume=True)


FILLING = """
import resource, sys, torch
from pathlib import Path
sys.path.insert(0, str(Path({here!r})))
import killed
torch.manual_seed(1)
try:
    limit = {limit}
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    killed.train({checkpoint!r}, Path({folder!r}))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_stops_cleanly_and_leaves_the_last_state(train: Train, tiny: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the state outgrows it once the optimiser's memory is there."""
    size = (stop(train, tmp_path / "probe", 1)[-1] / "state.safetensors").stat().st_size
    folder = tmp_path / "run"
    program = FILLING.format(
        here=str(Path(__file__).parent / "programs"), limit=size // 2, checkpoint=str(tiny), folder=str(folder)
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.startswith("CheckpointError")
    assert str(folder / "states") in run.stdout
    assert "File too large" in run.stdout
    assert not list(folder.rglob("*.partial"))  # and nothing half-written


def test_python_and_numpy_draw_on_as_they_would_have(
    train: Train, task: SequenceClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    import numpy as np

    collate, drawn = task.collate, []

    def drawing(items: object) -> object:
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        return collate(items)  # type: ignore[arg-type]

    monkeypatch.setattr(task, "collate", drawing)
    plain = replace(EVERY, epochs=1)
    random.seed(4)
    np.random.seed(4)
    train(None, plain)
    unbroken = drawn[:]
    drawn.clear()
    random.seed(4)
    np.random.seed(4)
    with pytest.raises(Interrupted):
        train(tmp_path, plain, stop_at=3)
    random.seed(5)
    np.random.seed(6)
    train(tmp_path, plain, resume=True)
    assert drawn == unbroken
