"""All experiments: carried out, judged, shown; what is not at hand is said, not judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from minitl.errors import DataError, Diverged, InputError
from minitl.experiments import reproduction
from minitl.experiments.experiment import Experiment, NotHere, Picture, Statement, here
from minitl.experiments.reproduction import experiments_named, reproduce_all
from minitl.experiments.runs import Runs
from minitl.experiments.table import EXPERIMENTS
from minitl.pages.claims import Verdict

COMMAND = ["minitl", "reproduce", "--all"]


def _run(runs: Runs) -> dict[str, Any]:
    line = runs.once("only", {}, lambda _folder, _listener: {"score": 0.75})
    return {"model": "a <model>", "data": "some data", "seeds": 2, "score": line["score"]}


def _draw(results: dict[str, Any], narrow: bool) -> Figure:  # noqa: ARG001
    figure = Figure()
    figure.add_subplot().plot([0, 1], [0, results["score"]])
    return figure


def _judge(results: dict[str, Any]) -> tuple[str, Verdict]:
    return f"{results['score']:.0%}", Verdict.HOLDS if results["score"] > 0.5 else Verdict.FAILS


ONE = Experiment(
    name="one",
    title="Whether it holds",
    section="A section",
    run=_run,
    statements=(Statement("It is above a half.", "Holds above 50%.", _judge),),
    tell=lambda results: f"It was {results['score']}.",
    pictures=(Picture("line", "A line.", _draw, lambda results: f"A line to {results['score']}."),),
)


@pytest.fixture
def only_one(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setattr(reproduction, "EXPERIMENTS", (ONE,))
    return ONE


def test_an_experiment_leaves_results_pictures_and_a_report(only_one: Experiment, tmp_path: Path):
    (outcome,) = reproduce_all([only_one], tmp_path, COMMAND)
    assert outcome.claims[0].verdict is Verdict.HOLDS
    kept = json.loads((tmp_path / "one" / "results.json").read_text())
    assert kept["claims"] == [
        {"says": "It is above a half.", "measured": "75%", "verdict": "holds", "rule": "Holds above 50%."}
    ]
    assert kept["results"]["score"] == 0.75
    assert kept["paragraph"] == "It was 0.75."
    assert kept["run"]["command"] == "minitl reproduce --all"
    assert (tmp_path / "one" / "line.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "report.html").read_text()
    for shown in (
        "It is above a half.",
        "75%",
        "holds",
        "a &lt;model&gt;; some data; 2 seeds",
        "<svg",
        "A line to 0.75.",
    ):
        assert shown in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


@pytest.mark.parametrize("error", [NotHere, Diverged])
def test_without_what_it_needs_there_is_no_verdict_and_the_next_is_run(
    only_one: Experiment, tmp_path: Path, error: type[Exception]
):
    def absent(runs: Runs) -> dict[str, Any]:  # noqa: ARG001
        raise error("no data set 'x' was found")

    outcome, after = reproduce_all([replace(only_one, run=absent), replace(only_one, name="two")], tmp_path, COMMAND)
    assert outcome.claims[0].verdict is Verdict.UNKNOWN
    assert after.claims[0].verdict is not Verdict.UNKNOWN
    assert not (tmp_path / "one" / "results.json").exists()
    page = (tmp_path / "report.html").read_text()
    assert "No result: no data set &#x27;x&#x27; was found." in page
    assert "cannot be judged" in page


def test_the_report_shows_what_an_earlier_call_found(only_one: Experiment, tmp_path: Path):
    reproduce_all([only_one], tmp_path, COMMAND)
    reproduce_all([], tmp_path, COMMAND)
    reproduction.write_report(tmp_path, COMMAND, {})
    assert "75%" in (tmp_path / "report.html").read_text()


def test_what_cannot_be_loaded_is_not_here_and_other_errors_are_errors():
    def missing() -> None:
        raise DataError("no data set")

    def wrong() -> None:
        raise InputError("a wrong argument")

    with pytest.raises(NotHere, match="no data set"):
        here(missing)
    with pytest.raises(InputError):
        here(wrong)


def test_experiments_are_found_by_name_and_the_nearest_is_named():
    assert experiments_named(None) == list(EXPERIMENTS)
    assert [one.name for one in experiments_named([EXPERIMENTS[0].name])] == [EXPERIMENTS[0].name]
    with pytest.raises(InputError, match=f"did you mean '{EXPERIMENTS[0].name}'"):
        experiments_named([EXPERIMENTS[0].name + "s"])


def test_every_experiment_has_a_name_of_its_own_statements_rules_and_pictures():
    names = [one.name for one in EXPERIMENTS]
    assert len(set(names)) == len(names)
    for one in EXPERIMENTS:
        assert one.statements
        assert one.pictures
        assert all(statement.says and statement.rule for statement in one.statements)
