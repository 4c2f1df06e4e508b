"""Several processes that share the runs of experiments."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitl.checkpoints.weights import read_json
from minitl.errors import InputError, Interrupted
from minitl.experiments import sharing, table
from minitl.experiments.experiment import NotHere
from minitl.experiments.reproduction import reproduce_all
from minitl.experiments.runs import Runs
from minitl.experiments.sharing import SharedRuns, share
from tests.experiments.test_reproduction import ONE


def says(**result: Any) -> Callable[..., dict[str, Any]]:
    return lambda _folder, _listener: result


def test_a_run_is_carried_out_and_tells_how_many_were_at_work(tmp_path: Path):
    runs = SharedRuns(tmp_path, 3)
    assert runs.once("a", {}, says(score=1)) == runs.once("a", {}, says(score=2))
    assert read_json(runs.folder / "a.json")["result"] | {"device": ""} == {"device": "", "score": 1, "jobs": 3}
    assert not runs.elsewhere


def test_what_another_has_is_passed_over(tmp_path: Path):
    begun, over = threading.Event(), threading.Event()

    def long(_folder: Path, _listener: Any) -> dict[str, Any]:
        begun.set()
        over.wait(20)
        return {"score": 1}

    first, second = SharedRuns(tmp_path, 2), SharedRuns(tmp_path, 2)
    thread = threading.Thread(target=first.once, args=("a", {}, long))
    thread.start()
    begun.wait(20)
    assert second.once("a", {}, says(score=2)) == {}
    assert second.elsewhere
    assert not second.waits
    over.set()
    thread.join()
    assert second.once("a", {}, says(score=2))["score"] == 1


def test_what_comes_after_another_waits_for_it(tmp_path: Path):
    runs = SharedRuns(tmp_path, 2)
    assert runs.once("b", {}, says(score=2), after=["a"]) == {}
    assert runs.waits
    runs.once("a", {}, says(score=1))
    assert runs.once("b", {}, says(score=2), after=["a"])["score"] == 2


def test_what_is_timed_is_left_for_later_and_waited_for_by_none(tmp_path: Path):
    runs = SharedRuns(tmp_path, 2)
    assert runs.once("a", {}, says(score=1), alone=True) == {}
    assert not runs.elsewhere
    assert not runs.waits
    assert Runs(tmp_path).once("a", {}, says(score=1), alone=True)["score"] == 1


def test_what_a_run_gave_is_gone_while_it_is_carried_out_anew(tmp_path: Path):
    runs, other = SharedRuns(tmp_path, 2), SharedRuns(tmp_path, 2)
    runs.once("a", {"rate": 1}, says(score=1))

    def again(_folder: Path, _listener: Any) -> dict[str, Any]:
        assert other.once("b", {}, says(score=2), after=["a"]) == {}
        return {"score": 2}

    assert runs.once("a", {"rate": 2}, again)["score"] == 2
    assert other.waits


def _chain(runs: Runs) -> dict[str, Any]:
    """Six runs of a fifth of a second, whose scores decide on a seventh; one that is timed."""

    def slow(folder: Path, _listener: Any) -> dict[str, Any]:
        time.sleep(0.2)
        (folder / "made").write_text("here")
        return {"score": int(folder.name) / 10, "process": os.getpid()}

    first = [{**runs.once(str(i), {}, slow, makes="made")} for i in range(6)]
    best = max(line["score"] for line in first)
    last = runs.once("best", {"of": best}, says(score=best), after=["0", "5"])
    timed = runs.once("timed", {}, says(process=os.getpid()), alone=True)
    return {"model": "m", "data": "d", "seeds": 1, "score": last["score"], "lines": first, "timed": timed}


def _absent(_runs: Runs) -> dict[str, Any]:
    raise NotHere("no data")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found = [
        replace(ONE, name="chain", run=_chain),
        replace(ONE, name="other", run=_chain),
        replace(ONE, name="absent", run=_absent),
    ]
    monkeypatch.setattr(table, "EXPERIMENTS", tuple(found))
    monkeypatch.setattr(sharing, "START", "fork")  # which knows of the three
    monkeypatch.setattr(sharing, "WAIT", 0.1)
    return found


def test_processes_share_the_runs_and_the_results_are_those_of_one(three: list[Any], tmp_path: Path):
    heard: list[str] = []
    outcomes = reproduce_all(three, tmp_path / "shared", ["x"], say=heard.append, jobs=3)
    alone = reproduce_all(three, tmp_path / "alone", ["x"])
    assert [outcome.claims for outcome in outcomes] == [outcome.claims for outcome in alone]
    assert [outcome.why for outcome in outcomes] == ["", "", "no data"]
    results = read_json(tmp_path / "shared" / "chain" / "results.json")["results"]
    assert results["score"] == 0.5
    assert results["timed"]["process"] == os.getpid()
    workers = {
        line["process"]
        for name in ("chain", "other")
        for line in read_json(tmp_path / "shared" / name / "results.json")["results"]["lines"]
    }
    assert len(workers) > 1
    assert os.getpid() not in workers
    assert any("runs done" in words for words in heard)
    assert not list(tmp_path.glob(f"shared/*/runs/{sharing.LOCKS}"))


def test_a_process_that_dies_leaves_its_runs_to_the_one_that_is_left(
    three: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sharing, "_waits", lambda *_: os._exit(9))
    share(three, tmp_path, 2)
    assert not list(tmp_path.glob("*/runs/*.json"))
    (outcome, *_) = reproduce_all(three[:1], tmp_path, ["x"])
    assert not outcome.why


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_whatever_stops_the_sharing_ends_its_processes(
    three: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
):
    monkeypatch.setattr(sharing, "_waits", lambda *_: time.sleep(60))

    before = time.monotonic()
    with pytest.raises(Interrupted, match="stopped after 0 runs") as stopped:
        share(three, tmp_path, 2, lambda _words: signal.raise_signal(signum))
    assert stopped.value.signum == signum
    assert time.monotonic() - before < 30
    assert not multiprocessing.active_children()


def test_no_jobs_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        reproduce_all([ONE], tmp_path, ["x"], jobs=0)
