"""The experiment on the number of labels: its runs on a tiny model, and its verdicts on made-up results."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from minitl import LoraConfig
from minitl.experiments import labels
from minitl.experiments.experiment import judged
from minitl.experiments.labels import EXPERIMENT, Scale
from minitl.experiments.runs import Runs
from minitl.experiments.study.arms import ARMS as ALL
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing
from minitl.training import Strategy

ARMS = ("scratch", "frozen", "gradual", "lora", "full")


def made_up(accuracy: dict[str, dict[int, float]], reviews: dict[str, float], size: int = 1000) -> dict:
    """Results of three seeds that agree but for a tenth of a point."""

    def lines(arm: str, count: int, mean: float) -> list[dict]:
        return [
            {
                "arm": arm,
                "labels": count,
                "seed": seed,
                "accuracy": mean + 0.001 * (seed - 1),
                "validation_accuracy": mean,
            }
            for seed in range(3)
        ]

    curve = [
        line for arm, found in accuracy.items() for count, mean in found.items() for line in lines(arm, count, mean)
    ]
    told = [line for arm, mean in reviews.items() for line in lines(arm, 1800, mean)]
    return {
        "model": "m",
        "data": "d",
        "seeds": 3,
        "curve": {"test": size, "commonest": 0.5, "lines": curve},
        "reviews": {"test": 200, "lines": told},
    }


def as_the_guide_says() -> dict[str, dict[int, float]]:
    transfer = {50: 0.80, 500: 0.88, 1000: 0.90, 10_000: 0.93}
    return {
        "scratch": {50: 0.50, 500: 0.56, 1000: 0.60, 10_000: 0.70},
        "frozen": {**transfer, 50: 0.86, 10_000: 0.89},
        "gradual": {**transfer, 10_000: 0.89},
        "lora": {**transfer, 10_000: 0.89},
        "full": transfer,
    }


def verdicts(results: dict) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_it_is_as_the_guide_says_everything_holds():
    found = verdicts(made_up(as_the_guide_says(), {"full": 0.94, "scratch": 0.54}))
    assert found == [Verdict.HOLDS] * 6


def test_where_it_is_otherwise_nothing_holds():
    told = {arm: dict.fromkeys((50, 500, 1000, 10_000), 0.70) for arm in ARMS}
    told["scratch"] = dict.fromkeys((50, 500, 1000, 10_000), 0.80)
    found = verdicts(made_up(told, {"full": 0.80, "scratch": 0.80}))
    assert found == [Verdict.FAILS] * 6


def test_what_lies_within_the_noise_holds_in_part():
    told = as_the_guide_says()
    told["scratch"] |= {1000: 0.66, 10_000: 0.88}
    told["frozen"] |= {1000: 0.80}
    told["full"] |= {10_000: 0.895}
    found = verdicts(made_up(told, {"full": 0.92, "scratch": 0.58}))
    assert found == [Verdict.IN_PART] * 6


def test_the_best_few_are_chosen_on_validation():
    results = made_up(as_the_guide_says(), {"full": 0.94, "scratch": 0.54})
    for line in results["curve"]["lines"]:
        if line["arm"] == "lora" and line["labels"] == 500:
            line |= {"accuracy": 0.60, "validation_accuracy": 0.99}
    claim = judged(EXPERIMENT, results)[2]
    assert claim.verdict is Verdict.FAILS
    assert "LoRA 60.0%" in claim.measured


def test_a_seed_that_gives_the_commonest_answer_has_learnt_nothing_to_judge():
    results = made_up(as_the_guide_says(), {"full": 0.94, "scratch": 0.54})
    one = next(line for line in results["curve"]["lines"] if (line["arm"], line["labels"]) == ("scratch", 1000))
    one["accuracy"] = 0.5
    assert verdicts(results)[0] is Verdict.UNKNOWN


@pytest.mark.slow
def test_every_arm_is_run_at_every_number_of_labels_once(tiny: Path, reviews: Path, tmp_path: Path):
    scale = Scale(
        str(tiny),
        str(reviews),
        (10, 20),
        str(reviews),
        review_length=16,
        seeds=(0,),
        least_steps=2,
        from_scratch=4,
        tested=6,
    )
    heard: list[str] = []
    runs = Runs(tmp_path, heard.append)
    results = labels.run(runs, scale)
    assert {(line["arm"], line["labels"]) for line in results["curve"]["lines"]} == {
        (arm, count) for arm in ARMS for count in (10, 20)
    }
    assert [line["arm"] for line in results["reviews"]["lines"]] == ["scratch", "full"]
    assert results["curve"]["test"] == results["reviews"]["test"] == 6
    assert labels.run(runs, scale) == results
    assert len(heard) == 12


def test_other_data_of_the_same_name_and_other_adapters_are_other_runs(
    tiny: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(labels, "_line", lambda *_: {"accuracy": 0.5})
    scale = Scale(str(tiny), str(reviews), (10,), str(reviews), seeds=(0,))
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    labels.run(runs, scale)
    copied = shutil.copytree(reviews, tmp_path / "elsewhere" / reviews.name)
    heard.clear()
    labels.run(runs, replace(scale, data=str(copied)))
    assert heard == [f"{reviews.name}-{arm}-10-0" for arm in ARMS]
    stronger = Strategy("lora", lora=LoraConfig(r=64))
    changed = [replace(arm, strategy=stronger) if arm.name == "lora" else arm for arm in ALL]
    monkeypatch.setattr(labels, "arms_named", lambda names: [arm for arm in changed if arm.name in names])
    heard.clear()
    labels.run(runs, replace(scale, data=str(copied)))
    assert heard == [f"{reviews.name}-lora-10-0"]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_shows_every_arm(narrow: bool):
    results = made_up(as_the_guide_says(), {"full": 0.94, "scratch": 0.54})
    (picture,) = EXPERIMENT.pictures
    with drawing():
        figure = picture.draw(results, narrow)
    drawn = {line.get_label() for line in figure.axes[0].get_lines()}
    assert {"Random initialisation", "Frozen features", "Gradual unfreezing", "LoRA", "Full fine-tuning"} <= drawn
    assert "Full fine-tuning: 80.0% at 50" in picture.describe(results)
