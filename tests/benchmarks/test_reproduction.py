"""The table of claims: from committed results alone."""

import json
from pathlib import Path

import pytest

from benchmarks import reproduction
from benchmarks.reproduction import gather, give_back, keep, markdown
from minitl.experiments.runs import Runs
from minitl.experiments.table import EXPERIMENTS

FIRST = EXPERIMENTS[0]


def write(path: Path) -> None:
    claim = {"says": "It holds | surely.", "measured": "75%", "verdict": "holds", "rule": "from 50%"}
    results = {"model": "a model", "data": "some data", "seeds": 3}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"claims": [claim], "results": results}))


def test_a_claim_is_a_row_and_what_has_no_result_is_said(tmp_path: Path) -> None:
    assert f"Not run yet: {FIRST.title}" in markdown(tmp_path)
    write(tmp_path / f"{FIRST.name}.json")
    table = markdown(tmp_path)
    assert "| It holds &#124; surely. | a model; some data; 3 seeds | 75% | **holds** |" in table
    assert FIRST.title not in table


def test_results_pictures_and_report_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    monkeypatch.setattr(reproduction, "RUNS", runs)
    monkeypatch.setattr(reproduction, "KEPT", kept)
    write(runs / "one" / "results.json")
    (runs / "one" / "line.png").write_bytes(b"png")
    (runs / "report.html").write_text("page")
    keep(["one"])
    assert sorted(path.name for path in kept.iterdir()) == ["one-line.png", "one.json", "report.html"]
    assert json.loads((kept / "one.json").read_text())["claims"][0]["verdict"] == "holds"


def test_what_was_run_elsewhere_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here, kept = tmp_path / "there", tmp_path / "here", tmp_path / "kept"
    monkeypatch.setattr(reproduction, "KEPT", kept)
    monkeypatch.setattr(reproduction, "RUNS", there)
    Runs(there / "one").once("a", {"rate": 1}, lambda *_: {"accuracy": 0.75})
    Runs(there / "one").once("b", {"rate": 1}, lambda *_: {"accuracy": 0.5})
    gather(["one", "never run"])
    assert [path.name for path in (kept / "single").iterdir()] == ["one.json"]

    monkeypatch.setattr(reproduction, "RUNS", here)
    Runs(here / "one").once("b", {"rate": 1}, lambda *_: {"accuracy": 0.25})
    (kept / "other.json").write_text("what another gave")
    give_back(["one", "never run"])
    assert (here / "other" / "results.json").read_text() == "what another gave"  # for the report
    runs, again = Runs(here / "one"), lambda *_: {"accuracy": 0.0}
    assert runs.once("a", {"rate": 1}, again)["accuracy"] == 0.75
    assert runs.once("a", {"rate": 2}, again)["accuracy"] == 0.0  # of other settings
    assert runs.once("b", {"rate": 1}, again)["accuracy"] == 0.25  # what was run here stays
