"""What is said of LoRA, on made-up results."""

from copy import deepcopy
from functools import cache
from typing import Any

import pytest

from minitl.experiments.experiment import judged
from minitl.experiments.lora import EXPERIMENT
from minitl.experiments.lora.counted import EVERYTHING, Training, count_all
from minitl.experiments.lora.run import FULL, Scale, preferred, ways
from minitl.experiments.shapes import MISTRAL
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

SIZE = 4000
TRAINED, COUNTED = slice(0, 3), slice(3, 9)
counted = cache(lambda: count_all(MISTRAL, Training()))


def right(accuracy: float) -> str:
    """The first so many are right: two ways differ on as few examples as they can."""
    return "1" * round(accuracy * SIZE) + "0" * (SIZE - round(accuracy * SIZE))


def made_up(accuracy: dict[str, float], usual: float = 0.90) -> dict[str, Any]:
    """Results of three seeds; of the two rates the first is the worse on validation and the better on the test."""
    lines = []
    for way in ways(Scale()):
        for rate, validated, gain in ((5e-4, 0.5, 0.05), (2e-3, 0.9, 0.0)):
            for seed in range(3):
                share = accuracy.get(way["arm"], usual) + gain + 0.0005 * (seed - 1)
                lines.append(
                    {
                        **way,
                        "rate": rate,
                        "seed": seed,
                        "accuracy": share,
                        "validation_accuracy": validated,
                        "right": right(share),
                        "training_seconds": 30.0 if way["arm"] == FULL else 20.0,
                        "peak_memory_bytes": 10**9,
                        "trainable": 10**7 if way["arm"] == FULL else 10**5 * way["rank"],
                        "total": 2 * 10**7,
                        "saved_bytes": 10**6,
                    }
                )
    return {
        "model": "m", "data": "d", "seeds": 3, "tested": SIZE, "lines": lines, "measured": [],
        "training": Training().__dict__, "counted": deepcopy(counted()),
    }  # fmt: skip


def verdicts(results: dict[str, Any], which: slice) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)[which]]


def test_where_all_ways_are_level_what_was_trained_holds():
    assert verdicts(made_up({}), TRAINED) == [Verdict.HOLDS] * 3


def test_where_small_updates_are_far_behind_it_does_not_hold():
    far = {FULL: 0.95, "r1-all-linear-layers": 0.8, "r4-all-linear-layers": 0.8, "r16-attention": 0.8}
    assert verdicts(made_up(far), TRAINED) == [Verdict.FAILS] * 3


def test_what_lies_within_the_noise_is_not_judged_or_holds_in_part():
    near = {FULL: 0.909, "r4-all-linear-layers": 0.891, "r16-attention": 0.891}
    results = made_up(near)
    for line in results["lines"]:  # one seed in three is far off: the difference is not sure
        if line["arm"] in near and line["seed"] == 0:
            line["right"] = right(line["accuracy"] + (0.02 if line["arm"] != FULL else -0.02))
    assert verdicts(results, TRAINED) == [Verdict.UNKNOWN, Verdict.IN_PART, Verdict.IN_PART]


def test_a_time_that_something_else_made_longer_does_not_count():
    results = made_up({})
    for line in results["lines"]:
        if line["arm"] == FULL and line["seed"] == 1:
            line["training_seconds"] = 800.0
    assert "r = 16 on all linear layers: 1.50× the time" in judged(EXPERIMENT, results)[6].measured
    assert "on disk, 30.0 s at the rate" in EXPERIMENT.tell(results)


def test_times_taken_beside_other_runs_say_so():
    results = made_up({})
    assert "Measured here, r = 16" in judged(EXPERIMENT, results)[6].measured
    for line in results["lines"]:
        line["jobs"] = 8
    assert "Measured here, beside 7 others, r = 16" in judged(EXPERIMENT, results)[6].measured


def test_validation_chooses_the_rate_and_the_guide_the_way():
    results = made_up({"r16-all-linear-layers": 0.70})
    assert {line["rate"] for lines in preferred(results["lines"]).values() for line in lines} == {2e-3}
    claim = judged(EXPERIMENT, results)[0]
    assert claim.verdict is Verdict.FAILS  # though others are better on the test
    assert "r = 16 on all linear layers 70.0%, full 90.0%" in claim.measured


def test_what_is_counted_for_mistral():
    claims = judged(EXPERIMENT, made_up({}))[COUNTED]
    assert [claim.verdict for claim in claims] == [
        Verdict.FAILS,  # 33 million
        Verdict.IN_PART,  # 0.5%
        Verdict.IN_PART,  # 5–50 MB
        Verdict.FAILS,  # 1000×
        Verdict.HOLDS,  # two hours
        Verdict.IN_PART,  # 4–8 cards, but not a day
    ]
    assert "6.8M (query and value), 13.6M (attention), 41.9M (all linear layers)" in claims[0].measured
    assert "no GPU was at hand" in claims[3].measured


def test_other_counts_give_other_verdicts():
    results = made_up({})
    for row in results["counted"]:
        if row["learns"] == EVERYTHING:
            row["flops"]["total"] *= 1000
            row["card_hours"] = 250.0
        else:
            row["trainable"], row["total"] = 33_000_000 // 4, 10**10
            row["card_hours"] = 3.0
    assert verdicts(results, COUNTED) == [
        Verdict.FAILS, Verdict.HOLDS, Verdict.HOLDS, Verdict.HOLDS, Verdict.IN_PART, Verdict.HOLDS,
    ]  # fmt: skip
    for row in results["counted"]:
        row["trainable"] = 33_000_000
        row["bytes"]["total"] = 10**12
        row["cards"] = 9
    assert verdicts(results, slice(3, 4)) == [Verdict.HOLDS]
    assert verdicts(results, slice(7, 9)) == [Verdict.FAILS, Verdict.IN_PART]


def test_what_was_measured_on_a_gpu_is_told():
    results = made_up({})
    results["measured"] = [
        {
            "learns": EVERYTHING,
            "recompute": True,
            "device": "a GPU",
            "fits": False,
            "seconds": [],
            "peak_memory_bytes": None,
        },
        {
            "learns": "all linear layers",
            "recompute": False,
            "device": "a GPU",
            "fits": True,
            "seconds": [0.5, 0.7],
            "peak_memory_bytes": 3 * 10**10,
        },
    ]
    claims = judged(EXPERIMENT, results)
    assert "on a GPU: everything, activations computed again: does not fit; all linear" in claims[6].measured
    assert "0.60 s a step" in claims[6].measured
    assert "30 GB" in claims[7].measured


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_name_every_way(narrow: bool):
    results = made_up({})
    ranks, memory = EXPERIMENT.pictures
    with drawing():
        figure, bars = ranks.draw(results, narrow), memory.draw(results, narrow)
    drawn = {line.get_label() for line in figure.axes[0].get_lines()}
    names = ("all linear layers", "query and value", "attention", "feed-forward")
    assert {"Full fine-tuning", *(f"LoRA, {name}" for name in names)} <= drawn
    assert "LoRA, all linear layers: 90.0% at r = 1, 90.0% at r = 4" in ranks.describe(results)
    assert len(bars.axes[0].get_yticklabels()) == len(results["counted"]) == 10
    assert "full: 130.2 GB, of it weights 14.5, gradients 14.5, optimiser 86.9, activations 14.3" in memory.describe(
        results
    )


def test_the_paragraph_says_the_rates():
    assert "full 5e-4 and 2e-3; LoRA 5e-4 and 2e-3, and validation chose" in EXPERIMENT.tell(made_up({}))
