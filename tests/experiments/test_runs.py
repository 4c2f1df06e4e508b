"""Runs of an experiment: each once, kept in a file, done again where its settings changed."""

from pathlib import Path
from typing import Any

import pytest

from minitl.experiments.runs import Runs


class Work:
    """Counts how often it is called; gives a number, and makes a file."""

    def __init__(self, makes: str = "made") -> None:
        self.calls = 0
        self.makes = makes

    def __call__(self, folder: Path, listener: Any) -> dict[str, Any]:  # noqa: ARG002
        self.calls += 1
        assert folder.is_dir()
        (folder / self.makes).write_text("here")
        return {"score": 0.5}


def test_a_run_is_carried_out_once(tmp_path: Path):
    work = Work()
    first = Runs(tmp_path).once("a", {"rate": 1.0}, work)
    again = Runs(tmp_path).once("a", {"rate": 1.0}, work)
    assert first == again
    assert first["score"] == 0.5
    assert work.calls == 1


def test_a_run_whose_settings_changed_is_carried_out_anew_in_an_empty_folder(tmp_path: Path):
    runs, work = Runs(tmp_path), Work("old")
    runs.once("a", {"rate": 1.0}, work)
    other = Work("new")
    runs.once("a", {"rate": 2.0}, other)
    assert other.calls == 1
    assert not (runs.at("a") / "old").exists()
    assert (runs.at("a") / "new").exists()


def test_tuples_and_lists_are_the_same_settings(tmp_path: Path):
    work = Work()
    Runs(tmp_path).once("a", {"sizes": (1, 2)}, work)
    Runs(tmp_path).once("a", {"sizes": [1, 2]}, work)
    assert work.calls == 1


def test_a_run_whose_product_is_gone_is_carried_out_anew(tmp_path: Path):
    runs, work = Runs(tmp_path), Work()
    runs.once("a", {}, work, makes="made")
    (runs.at("a") / "made").unlink()
    runs.once("a", {}, work, makes="made")
    assert work.calls == 2


def test_what_an_interrupted_run_left_is_there_when_it_goes_on(tmp_path: Path):
    runs = Runs(tmp_path)

    def broken(folder: Path, listener: Any) -> dict[str, Any]:  # noqa: ARG001
        (folder / "state").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.once("a", {"rate": 1.0}, broken)
    found = runs.once("a", {"rate": 1.0}, lambda folder, _: {"state": (folder / "state").read_text()})
    assert found["state"] == "half"


def test_each_run_is_announced_by_its_key(tmp_path: Path):
    heard: list[str] = []
    runs = Runs(tmp_path, heard.append)
    runs.once("a", {}, Work())
    runs.once("a", {}, Work())
    runs.once("b", {}, Work())
    assert heard == ["a", "b"]
