"""A folder is for one training at a time, and free again however that ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from minitl import fit
from minitl.data import Example
from minitl.errors import TrainingError
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Settings
from minitl.training.lock import alone_in
from tests.training.test_fit import Make

HOLD = """
import sys
from pathlib import Path
from minitl.training.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_trains_in_is_refused_until_that_is_gone(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    settings = Settings(epochs=1, batch_size=8)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="is in use by another training"):
            fit(classifier(), examples, task=task, settings=settings, folder=tmp_path)
        other.kill()
    fit(classifier(), examples, task=task, settings=settings, folder=tmp_path)


def test_without_a_folder_nothing_is_held_and_with_one_it_is_let_go(tmp_path: Path) -> None:
    with alone_in(None):
        pass
    for _ in range(2):
        with alone_in(tmp_path / "new"), pytest.raises(TrainingError, match="in use"), alone_in(tmp_path / "new"):
            pass
    assert not (tmp_path / "new").exists()  # nothing was written
    with alone_in(tmp_path):
        pass
    assert tmp_path.exists()  # which was there before
