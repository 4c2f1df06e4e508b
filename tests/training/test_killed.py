"""Killed at any point, a training goes on to the end that it would have had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

PROGRAM = Path(__file__).parent / "programs" / "killed.py"


@pytest.mark.slow
def test_twenty_kills_in_steps_and_while_saving_change_nothing(tiny: Path, tmp_path: Path) -> None:
    weights = {}
    for name, kills in (("unbroken", 0), ("killed", 20)):
        words = [sys.executable, str(PROGRAM), str(tiny), str(tmp_path / name), str(kills), "3"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
        died, in_saving = map(int, run.stdout.split())
        assert (died, in_saving) == (kills, kills // 2)
        weights[name] = [load_file(file) for file in (tmp_path / name).glob("final*.safetensors")]
        assert not list((tmp_path / name / "states").glob(".*"))  # no half-written state is left
    (unbroken,) = weights["unbroken"]
    for killed in weights["killed"]:
        assert unbroken.keys() == killed.keys()
        assert all(value.equal(killed[name]) for name, value in unbroken.items())
