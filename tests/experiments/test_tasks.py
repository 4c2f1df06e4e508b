"""The experiment on the table of tasks: its runs on tiny models, and its verdicts on made-up results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitl.experiments import tasks
from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.runs import Runs
from minitl.experiments.tasks import EXPERIMENT, ROWS, Scale
from minitl.experiments.teaching import recipe_named
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

PRETRAINED = [row.name for row in ROWS if row.pretrained]


def made_up(after: float, before: float = 0.5, asked: float = 0.5) -> dict[str, Any]:
    rows = {
        row.name: {
            "source": "m",
            "data": "d",
            "size": 400,
            "commonest": 0.6 if row.metric == "accuracy" else None,
            "before": before if row.pretrained else None,
            "after": after * (row.largest or 1.0),
            "steps": 100,
            "total": 22_700_000,
        }
        for row in ROWS
    }
    guessed = {"size": 400, "accuracy": asked, "commonest": 0.5, "total": 5_000_000}
    return {"model": "m", "data": "d", "seeds": 1, "rows": rows, "asked": guessed}


def verdicts(results: dict[str, Any]) -> dict[str, Verdict]:
    names = [*(row.name for row in ROWS), "asked"]
    return dict(zip(names, (claim.verdict for claim in judged(EXPERIMENT, results)), strict=True))


def test_a_pretrained_model_that_learns_its_task_holds_and_random_weights_are_not_judged() -> None:
    found = verdicts(made_up(0.8, asked=0.7))
    assert {found.pop(name) for name in PRETRAINED} == {Verdict.HOLDS}
    assert found.pop("asked") is Verdict.HOLDS
    assert set(found.values()) == {Verdict.UNKNOWN}


def test_what_the_noise_could_do_is_no_learning() -> None:
    found = verdicts(made_up(0.55))
    assert {found[name] for name in PRETRAINED} == {Verdict.FAILS}
    assert found["asked"] is Verdict.UNKNOWN


def test_the_commonest_answer_is_what_a_classifier_is_held_against() -> None:
    found = verdicts(made_up(0.64))
    assert found["classification"] is Verdict.FAILS
    assert found["entities"] is Verdict.HOLDS


def test_every_figure_is_told_in_its_own_measure() -> None:
    told = {row.name: claim.measured for row, claim in zip(ROWS, judged(EXPERIMENT, made_up(0.8)), strict=False)}
    assert told["translation"].startswith("BLEU 80.0 after 100 steps, 22.7M weights, from random weights")
    assert told["classification"].startswith("accuracy 80.0% after 100 steps")
    assert "50.0% before, 60.0% by the commonest answer: +20.0 points (noise ±" in told["classification"]
    assert "ρ 80.0% after" in told["similarity"]
    assert "recipes/multi30k_de_en.toml and recipes/t0_mix.toml are cut short" in EXPERIMENT.tell(made_up(0.8))


def test_the_noise_of_a_correlation_is_that_of_its_pairs() -> None:
    assert tasks._correlation_noise(0.0, 109) == pytest.approx(1.96 * 0.1, rel=1e-3)
    assert tasks._correlation_noise(1.0, 109) == 0.0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_recipe_of_every_row_is_there(row: tasks.Row) -> None:
    values = tasks._values(row, Scale(seed=3))
    assert tasks.recipe_of(values, Path("anywhere")).training.seed == 3
    assert ("source" in values["model"]) is row.pretrained


def test_without_a_checkout_there_are_no_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minitl.experiments.teaching.CHECKOUT", tmp_path)
    with pytest.raises(NotHere, match="lie in a checkout"):
        recipe_named("wnut17")


@pytest.mark.slow
def test_every_row_is_taught_once_and_the_model_of_instructions_is_asked(
    tiny: Path, reviews: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told.jsonl"
    lines = [{"prompt": f"is the {a} film {b}?", "completion": b} for a in ("old", "new") for b in ("good", "bad")]
    told.write_text("".join(json.dumps(line) + "\n" for line in lines * 10))
    small = {"vocab_size": 300, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    classification, instructions = ROWS[0], next(row for row in ROWS if row.name == "instructions")
    scale = Scale(
        rows=(classification, replace(instructions, changes={"steps": 2, "evaluate_every": 2})),
        changes={
            "classification": {
                "model": {"source": str(tiny)},
                "data": {"source": str(reviews)},
                "options": {"max_length": 16},
            },
            "instructions": {
                "model": {"config": {**recipe_named("t0_mix")["model"]["config"], **small}},
                "data": {"source": str(told), "validation_fraction": 0.2, "test_fraction": 0.2},
                "options": {"max_length": 64},
            },
        },
        asked=str(reviews),
    )
    heard: list[str] = []
    runs = Runs(tmp_path / "runs", heard.append)
    results = tasks.run(runs, scale)
    assert list(results["rows"]) == ["classification", "instructions"]
    assert results["rows"]["classification"]["size"] == results["asked"]["size"] == 20
    assert results["rows"]["classification"]["commonest"] == 0.5
    assert results["rows"]["instructions"]["before"] is None
    assert results["rows"]["instructions"]["steps"] == 2
    assert 0 <= results["asked"]["accuracy"] <= 1
    assert tasks.run(runs, scale) == results
    assert heard == ["classification", "instructions", "asked"]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_has_every_row_that_has_a_scale(narrow: bool) -> None:
    (picture,) = EXPERIMENT.pictures
    with drawing():
        axes = picture.draw(made_up(0.8), narrow).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"{row.name}, {row.printed}" for row in ROWS if row.name != "instructions"]
