"""The experiment on rates and epochs: its runs on a tiny model, and its verdicts on made-up results."""

from pathlib import Path

import pytest
import torch

from minitl.data import Example
from minitl.experiments import overfitting
from minitl.experiments.experiment import judged
from minitl.experiments.overfitting import EXPERIMENT, Scale, Watched, kept
from minitl.experiments.runs import Runs
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

RATES = (2e-5, 1e-4, 5e-4, 2e-3)
Curve = tuple[float, float, float]  # test accuracy after the first epoch, the fifth, the last


def line(rate: float, seed: int, curve: Curve, loss: float) -> dict:
    """Twenty epochs; validation finds the first the best."""
    accuracies = [curve[0], *[curve[1]] * 18, curve[2]]
    epochs = [
        {"loss": loss + 0.5 / (at + 1), "validation_accuracy": 0.9 - 0.01 * at, "test_accuracy": one + 0.001 * seed}
        for at, one in enumerate(accuracies)
    ]
    epochs[-1]["loss"] = loss
    return {"rate": rate, "seed": seed, "epochs": epochs}


def made_up(low: Curve, high: Curve, loss: float) -> dict:
    curves = dict(zip(RATES, (low, low, low, high), strict=True))
    lines = [line(rate, seed, curve, loss) for rate, curve in curves.items() for seed in range(3)]
    return {"model": "m", "data": "d", "seeds": 3, "test": 872, "lines": lines}


def verdicts(results: dict) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_it_is_as_the_guide_says_everything_holds():
    assert verdicts(made_up((0.935, 0.93, 0.93), (0.8, 0.882, 0.74), 0.005)) == [Verdict.HOLDS] * 4


def test_where_it_is_otherwise_nothing_holds():
    found = verdicts(made_up((0.7, 0.8, 0.85), (0.8, 0.85, 0.86), 0.4))
    assert found == [*[Verdict.FAILS] * 3, Verdict.UNKNOWN]  # there is no collapse to be avoided


def test_a_smaller_fall_and_a_level_end_hold_in_part():
    found = verdicts(made_up((0.92, 0.8, 0.8), (0.9, 0.95, 0.89), 0.05))
    assert found == [Verdict.IN_PART, Verdict.IN_PART, Verdict.IN_PART, Verdict.IN_PART]


def test_a_fall_within_the_noise_is_none():
    found = verdicts(made_up((0.9, 0.9, 0.9), (0.9, 0.9, 0.88), 0.0))
    assert (found[0], found[3]) == (Verdict.FAILS, Verdict.UNKNOWN)


def collapsed(results: dict, rate: float, ends: Curve) -> dict:
    """The same, with the accuracy of each seed at the end of this rate."""
    for line in results["lines"]:
        if line["rate"] == rate:
            line["epochs"][-1]["test_accuracy"] = ends[line["seed"]]
    return results


def test_where_one_seed_alone_collapses_nothing_can_be_said():
    found = verdicts(collapsed(made_up((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 0.0), 2e-3, (0.5, 0.9, 0.9)))
    assert (found[0], found[3]) == (Verdict.UNKNOWN, Verdict.UNKNOWN)


def test_a_sure_fall_counts_where_another_rate_falls_further_and_not_surely():
    results = collapsed(made_up((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 0.0), 2e-3, (0.5, 0.9, 0.9))
    claims = judged(EXPERIMENT, collapsed(results, 5e-4, (0.8, 0.8, 0.8)))
    assert claims[0].verdict is Verdict.IN_PART
    assert "Most at the rate 5e-4: 90.1% after 5 epochs, 80.0% at the end" in claims[0].measured
    assert claims[3].verdict is Verdict.HOLDS


def test_a_low_rate_that_ends_behind_the_collapse_does_not_avoid_it():
    assert verdicts(made_up((0.6, 0.6, 0.6), (0.9, 0.9, 0.8), 0.0))[3] is Verdict.FAILS


def test_the_epoch_is_kept_that_validation_finds_best():
    results = made_up((0.9, 0.8, 0.7), (0.9, 0.8, 0.7), 0.0)
    results["lines"][0]["epochs"][7] |= {"validation_accuracy": 0.99, "test_accuracy": 0.5}
    results["lines"][0]["epochs"][9] |= {"validation_accuracy": 0.99, "test_accuracy": 0.6}
    assert kept(results, 2e-5).values == pytest.approx((0.5, 0.901, 0.902))


def test_what_is_watched_chooses_nothing():
    examples = [Example("a", label=label) for label in (1, 1, 0, 1)]
    scores = Watched(None, ["negative", "positive"], 2).score(torch.tensor([[0.1, 0.9]] * 4), examples)
    assert scores["accuracy"] == 1.0
    assert scores["test_accuracy"] == 0.5


def test_every_rate_is_run_once_and_told_after_each_epoch(tiny: Path, reviews: Path, tmp_path: Path):
    scale = Scale(str(tiny), str(reviews), 16, (1e-4, 1e-3), epochs=6, seeds=(0,), validation=8, tested=6)
    heard: list[str] = []
    runs = Runs(tmp_path, heard.append)
    results = overfitting.run(runs, scale)
    assert results["test"] == 6
    assert [(one["rate"], len(one["epochs"])) for one in results["lines"]] == [(1e-4, 6), (1e-3, 6)]
    for one in results["lines"][0]["epochs"]:
        assert one["test_accuracy"] * 6 == pytest.approx(round(one["test_accuracy"] * 6))
        assert 0 < one["loss"] < 2
    assert overfitting.run(runs, scale) == results
    assert heard == ["1e-4-0", "1e-3-0"]
    assert len(verdicts(results)) == 4


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_show_every_rate(narrow: bool):
    results = made_up((0.935, 0.93, 0.93), (0.8, 0.882, 0.74), 0.005)
    for picture, told in zip(EXPERIMENT.pictures, ("80.1% after one epoch, 74.1% at the end", "0.005"), strict=True):
        with drawing():
            drawn = {line.get_label() for line in picture.draw(results, narrow).axes[0].get_lines()}
        assert {"2e-5", "1e-4", "5e-4", "2e-3"} <= drawn
        assert told in picture.describe(results)
