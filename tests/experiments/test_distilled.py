"""The experiment on distillation: its runs on a tiny model, and its verdict on made-up results."""

from pathlib import Path
from typing import Any

import pytest

from minitl import load_model, load_tokenizer, save_model
from minitl.experiments import distilled
from minitl.experiments.distilled import EXPERIMENT, HALF, ON_TASK, ON_TEXT, TITLES, WHOLE, Scale
from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.runs import Runs
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing


def made_up(on_text: float, whole: float = 0.80, on_task: float = 0.75, size: int = 1000) -> dict[str, Any]:
    """Three seeds that agree."""
    told = {WHOLE: whole, HALF: 0.70, ON_TEXT: on_text, ON_TASK: on_task}
    lines = [
        {
            "arm": arm,
            "seed": seed,
            "accuracy": share,
            "right": "1" * round(share * size) + "0" * (size - round(share * size)),
            "total": 100 if arm == WHOLE else 60,
        }
        for arm, share in told.items()
        for seed in range(3)
    ]
    return {"model": "m", "data": "d", "seeds": 3, "lines": lines, "tested": size, "commonest": 0.5}


@pytest.mark.parametrize(
    ("on_text", "verdict"),
    [(0.80, Verdict.HOLDS), (0.778, Verdict.IN_PART), (0.772, Verdict.IN_PART), (0.72, Verdict.FAILS)],
)
def test_the_half_that_was_distilled_on_text_is_held_against_the_whole(on_text: float, verdict: Verdict):
    claim, _ = judged(EXPERIMENT, made_up(on_text))
    assert claim.verdict is verdict
    assert f"{on_text / 0.8 * 100:.1f}% of it" in claim.measured
    assert claim.measured.endswith("60% of the parameters.")


def test_a_half_that_is_better_than_the_whole_holds():
    claim, _ = judged(EXPERIMENT, made_up(0.9))
    assert claim.verdict is Verdict.HOLDS
    assert "112.5% of it" in claim.measured


@pytest.mark.parametrize(
    ("on_text", "on_task", "verdict"),
    [
        (0.78, 0.75, Verdict.HOLDS),
        (0.78, 0.70, Verdict.IN_PART),
        (0.70, 0.70, Verdict.UNKNOWN),
        (0.78, 0.60, Verdict.FAILS),
    ],
)
def test_both_halves_with_a_teacher_are_held_against_the_one_without(on_text: float, on_task: float, verdict: Verdict):
    assert judged(EXPERIMENT, made_up(on_text, on_task=on_task))[1].verdict is verdict


@pytest.mark.slow
def test_every_way_is_run_once(tiny: Path, reviews: Path, tmp_path: Path):
    taught = tmp_path / "taught"  # with the head for masked words, as a checkpoint that is distilled has
    save_model(load_model(tiny, "masked-lm"), taught, load_tokenizer(tiny))
    scale = Scale(
        str(taught), (0, 2), str(reviews), 3, 4, 16, str(reviews), 32, 1, 1e-3, 16, 8, str(reviews), seeds=(0,)
    )
    heard: list[str] = []
    runs = Runs(tmp_path / "runs", heard.append)
    results = distilled.run(runs, scale)
    assert [line["arm"] for line in results["lines"]] == list(TITLES)
    assert results["tested"] == 20
    whole, half, on_text, on_task = results["lines"]
    assert half["total"] == on_text["total"] == on_task["total"] < whole["total"]
    assert len(load_model(runs.at(ON_TEXT) / "model").layers) == 2
    assert distilled.run(runs, scale) == results
    assert len(heard) == len(set(heard)) == 5


def test_without_the_checkpoint_it_is_not_here(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("minitl.checkpoints.hub.CHECKOUT", tmp_path)
    with pytest.raises(NotHere, match="novels-bert"):
        distilled.run(Runs(tmp_path), Scale())


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_names_every_way(narrow: bool):
    (picture,) = EXPERIMENT.pictures
    with drawing():
        axes = picture.draw(made_up(0.78), narrow).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TITLES.values())
    assert "Half, distilled on text (DistilBERT): 78.0%" in picture.describe(made_up(0.78))


def test_the_paragraph_says_what_is_left_above_chance():
    assert "has 93.3%" in EXPERIMENT.tell(made_up(0.78))
