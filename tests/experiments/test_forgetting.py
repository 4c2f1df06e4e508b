"""The experiment on forgetting: its runs on a tiny model, and its verdicts on made-up results."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minitl import LoraConfig, load_model
from minitl.experiments import forgetting
from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.forgetting import EXPERIMENT, GUARDS, Scale, _taught
from minitl.experiments.runs import Runs
from minitl.experiments.study.arms import LORA
from minitl.nn.device import usual_device
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing
from minitl.training.replay import lend_backbone

BEFORE = 3.0
GUARDING = [guard.name for guard in GUARDS[1:]]


def right(accuracy: float) -> str:
    """Of a thousand, the first ones."""
    return "1" * round(1000 * accuracy) + "0" * (1000 - round(1000 * accuracy))


def made_up(losses: dict[str, float], accuracies: dict[str, float]) -> dict:
    """Results of three seeds that agree but for a hundredth."""
    lines = [
        {
            "guard": name,
            "seed": seed,
            "loss": losses[name] + 0.01 * (seed - 1),
            "accuracy": accuracies[name] + 0.001 * (seed - 1),
            "right": right(accuracies[name] + 0.001 * (seed - 1)),
            "training_loss": 0.01,
        }
        for name in ("none", *GUARDING)
        for seed in range(3)
    ]
    return {"model": "m", "data": "d", "seeds": 3, "test": 872, "before": BEFORE, "lines": lines}


def told(none: float, guards: float) -> dict[str, float]:
    return {"none": none, **dict.fromkeys(GUARDING, guards)}


def verdicts(results: dict) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_it_is_as_the_guide_says_everything_holds():
    assert verdicts(made_up(told(6.0, 3.2), told(0.60, 0.75))) == [Verdict.HOLDS] * 3


def test_where_nothing_is_forgotten_nothing_holds():
    assert verdicts(made_up(told(3.0, 3.0), told(0.75, 0.75))) == [Verdict.FAILS] * 3


def test_it_holds_in_part():
    losses = told(6.0, 6.0) | {"lora": 3.5, "replay": 3.1}
    assert verdicts(made_up(losses, told(0.70, 0.76))) == [Verdict.IN_PART] * 3


def test_where_one_seed_alone_generalises_terribly_nothing_can_be_said():
    results = made_up(told(6.0, 3.2), told(0.75, 0.75))
    results["lines"][0] |= {"accuracy": 0.45, "right": right(0.45)}
    assert verdicts(results)[1] is Verdict.UNKNOWN


def test_what_did_not_learn_its_training_data_says_nothing_of_generalising():
    results = made_up(told(6.0, 3.2), told(0.60, 0.75))
    for line in results["lines"]:
        line["training_loss"] = 0.7
    assert verdicts(results) == [Verdict.HOLDS, Verdict.UNKNOWN, Verdict.HOLDS]


def test_where_the_seeds_disagree_on_what_is_forgotten_nothing_can_be_said():
    results = made_up(told(3.0, 3.0), told(0.75, 0.75))
    results["lines"][0]["loss"] = 4.0
    assert verdicts(results)[0] is Verdict.UNKNOWN


def test_a_guard_that_does_not_learn_the_task_does_not_help():
    results = made_up(told(6.0, 3.2), told(0.75, 0.75) | {"l2-sp": 0.55})
    claim = judged(EXPERIMENT, results)[2]
    assert claim.verdict is Verdict.IN_PART
    assert "L2-SP does not help" in claim.measured
    assert "Replay helps" in claim.measured


@pytest.mark.slow
def test_every_guard_is_run_once(masked: Path, novels: Path, reviews: Path, tmp_path: Path):
    scale = Scale(
        str(masked), str(reviews), str(novels), held_out=0.4, words=20, length=16, labels=8, epochs=2, validation=4,
        seeds=(0,), tested=6,
    )  # fmt: skip
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = forgetting.run(runs, scale)
    assert [line["guard"] for line in results["lines"]] == ["none", *GUARDING]
    losses = {line["guard"]: line["loss"] for line in results["lines"]}
    assert abs(losses["low"] - results["before"]) < abs(losses["none"] - results["before"])
    assert len({losses[name] for name in ("none", "low", "gradual", "lora", "replay")}) == 5
    assert forgetting.run(runs, scale) == results
    assert heard == ["before", *(f"{name}-0" for name in losses)]


def test_a_guard_that_is_another_is_run_anew(
    masked: Path, novels: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forgetting, "_general_loss", lambda *_: 3.0)
    monkeypatch.setattr(forgetting, "_line", lambda *_: {"loss": 3.0})
    scale = Scale(str(masked), str(reviews), str(novels), held_out=0.4, seeds=(0,))
    heard: list[str] = []
    forgetting.run(Runs(tmp_path / "out"), scale)
    stronger = replace(LORA, lora=LoraConfig(r=64))
    others = {"early": {"stops": False}, "lora": {"strategy": stronger}, "replay": {"replays": False}}
    guards = tuple(replace(guard, **others.get(guard.name, {})) for guard in GUARDS)
    monkeypatch.setattr(forgetting, "GUARDS", guards)
    forgetting.run(Runs(tmp_path / "out", heard.append), scale)
    assert heard == ["early-0", "lora-0", "replay-0"]


def test_a_backbone_that_was_not_taught_forgets_nothing(masked: Path):
    scale = Scale(str(masked))
    taught, ids = _taught(scale), torch.tensor([[2, 5, 6, 3]], device=usual_device())
    expected = taught(ids).logits
    lend_backbone(load_model(masked, "sequence-classification", num_labels=2), taught)
    torch.testing.assert_close(taught(ids).logits, expected)


def test_without_the_head_there_is_nothing_to_measure(tiny: Path):
    with pytest.raises(NotHere, match="has no masked-lm head"):
        _taught(Scale(str(tiny)))


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_names_every_guard(narrow: bool):
    results = made_up(told(6.0, 3.2), told(0.60, 0.75))
    (picture,) = EXPERIMENT.pictures
    with drawing():
        figure = picture.draw(results, narrow)
    for axes in figure.axes[: 2 if narrow else 1]:  # side by side they share the names
        assert [tick.get_text() for tick in axes.get_yticklabels()] == [guard.title for guard in GUARDS]
    assert all(guard.title in picture.describe(results) for guard in GUARDS)
