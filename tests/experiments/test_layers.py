"""The experiment on what layers know: its runs on a tiny model, and its verdicts on made-up results."""

from pathlib import Path
from typing import Any

import pytest

from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.layers import EXPERIMENT, Scale, run
from minitl.experiments.runs import Runs
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing
from minitl.probing.record import judged_anew

KINDS = ("form", "syntax", "semantics", "task")


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "deviation": 0.0, "low": mean, "high": mean}


def made_up(best: dict[str, int]) -> dict[str, Any]:
    """A model of four layers, and of each kind one task that is solved best in one of them."""
    tasks = []
    for kind, at in best.items():
        scores = [estimate(0.9 - 0.1 * abs(layer - at)) for layer in range(5)]
        behind = [estimate(0.1 * abs(layer - at)) for layer in range(5)]
        mixture = {"centre_of_gravity": {"mean": float(at), "deviation": 0.01}}
        tasks.append(
            {
                "title": f"a task of {kind}",
                "kind": kind,
                "layers": list(range(5)),
                "metric": "accuracy",
                "scores": {"accuracy": scores},
                "behind": behind,
                "best": at,
                "without_vectors": 0.3,
                "mixture": mixture,
            }
        )
    probed = judged_anew({"model": {"layers": 4}, "seeds": [0, 1, 2], "tasks": tasks})
    return {"model": "m", "data": "d", "seeds": 3, "probed": probed}


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_it_is_as_the_guide_says_everything_holds() -> None:
    results = made_up(dict(zip(KINDS, (1, 2, 3, 4), strict=True)))
    assert verdicts(results) == [Verdict.HOLDS] * 5
    assert judged(EXPERIMENT, results)[2].measured.startswith("Here layer 3. a task of semantics: best at layer 3; ")


def test_where_it_is_the_other_way_round_nothing_holds() -> None:
    assert verdicts(made_up(dict(zip(KINDS, (4, 3, 2, 1), strict=True)))) == [Verdict.FAILS] * 5


def test_a_kind_that_no_task_asked_for_is_not_judged() -> None:
    found = verdicts(made_up({"form": 1, "task": 4}))
    assert found == [Verdict.HOLDS, Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.HOLDS, Verdict.IN_PART]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_shows_every_task_and_layer(narrow: bool) -> None:
    results = made_up(dict(zip(KINDS, (1, 2, 3, 4), strict=True)))
    with drawing():
        axes = EXPERIMENT.pictures[0].draw(results, narrow).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"a task of {kind}" for kind in KINDS]
    assert len(axes.texts) == 20
    assert "a task of task: 50.0, 60.0, 70.0, 80.0, 90.0" in EXPERIMENT.pictures[0].describe(results)


@pytest.mark.slow
def test_every_task_is_probed_once(tiny: Path, treebank: Path, tmp_path: Path) -> None:
    scale = Scale(str(tiny), ("pos", "tree"), str(treebank), sentences=24, seeds=2)
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = run(runs, scale)
    assert [task["name"] for task in results["probed"]["tasks"]] == ["pos", "tree"]
    assert "of BERT's twelve layers; this model's 3 are parted" in EXPERIMENT.tell(results)
    assert len(judged(EXPERIMENT, results)) == 5
    assert run(runs, scale) == results
    assert heard == ["pos", "tree"]


def test_without_the_data_nothing_is_judged(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(NotHere, match="absent"):
        run(Runs(tmp_path), Scale(str(tiny), ("pos",), str(tmp_path / "absent.conllu")))
