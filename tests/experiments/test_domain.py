"""The experiment on adaptation to a domain: its runs on a tiny model, and its verdicts on made-up results."""

import json
from pathlib import Path

import pytest

from minitl import load_model
from minitl.experiments.domain import EXPERIMENT
from minitl.experiments.domain.run import ARMS, MACRO, MICRO, Scale, run
from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.paired import read, written
from minitl.experiments.runs import Runs
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

TASKS = {"chemprot": MICRO, "sci_cite": MACRO}


def line(task: str, arm: str, seed: int, right: float, items: int) -> dict:
    """Two classes by turns; what is wrong with one arm is wrong with those that get more wrong."""
    wrong = round((1 - right) * items / 2) * 2 + 2 * (seed % 2)
    predicted = [at % 2 if at >= wrong else 1 - at % 2 for at in range(items)]
    return {"task": task, "arm": arm, "seed": seed, "f1": 1 - wrong / items, "predicted": written(predicted)}


def made_up(right: dict[str, tuple[float, float, float]], items: int = 2000) -> dict:
    """`right` of each task: without adaptation, to the domain, to novels."""
    lines = [
        line(task, arm, seed, share, items)
        for task, shares in right.items()
        for arm, share in zip(ARMS, shares, strict=True)
        for seed in range(5)
    ]
    labels = written([at % 2 for at in range(items)])
    tasks = {
        task: {"averaging": TASKS.get(task, MACRO), "classes": 2, "labels": labels, "dropped": 3} for task in right
    }
    adapted = {arm: {"tokens": 1000, "loss": 4.0} for arm in ARMS}
    return {
        "model": "m", "data": "d", "seeds": 5, "tasks": tasks, "adaptation": {"steps": 10, "rate": 1e-4, **adapted},
        "lines": lines,
    }  # fmt: skip


def verdicts(results: dict) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_it_is_as_the_guide_says_everything_holds():
    assert verdicts(made_up(dict.fromkeys(TASKS, (0.70, 0.76, 0.70)))) == [Verdict.HOLDS] * 2


def test_where_it_is_otherwise_nothing_holds():
    assert verdicts(made_up(dict.fromkeys(TASKS, (0.70, 0.70, 0.71)))) == [Verdict.FAILS] * 2


def test_where_one_task_gains_or_all_gain_little_it_holds_in_part():
    some = {"chemprot": (0.70, 0.76, 0.70), "sci_cite": (0.70, 0.70, 0.70)}
    assert verdicts(made_up(some)) == [Verdict.IN_PART] * 2
    assert verdicts(made_up(dict.fromkeys(TASKS, (0.70, 0.72, 0.70))))[0] is Verdict.IN_PART


def test_with_few_test_texts_nothing_can_be_said():
    results = made_up(dict.fromkeys(TASKS, (0.5, 0.5, 0.5)), items=40)
    for one in results["lines"]:
        if one["arm"] == "domain":  # as many right, but others
            one["predicted"] = written([1 - number for number in read(one["predicted"])])
    assert verdicts(results) == [Verdict.UNKNOWN] * 2


def test_a_gain_as_the_guide_says_that_the_noise_hides_counts_against_nothing():
    results = made_up(
        {"chemprot": (0.70, 0.76, 0.70), "sci_cite": (0.70, 0.75, 0.70), "citation_intent": (0.70, 0.76, 0.70)}
    )
    for seed, wrong in enumerate((600, 560, 500, 440, 400)):  # 5 points ahead, and the seeds apart
        for one in results["lines"]:
            if (one["task"], one["arm"], one["seed"]) == ("sci_cite", "domain", seed):
                one |= {"f1": 1 - wrong / 2000, "predicted": written([(at + (at < wrong)) % 2 for at in range(2000)])}
    assert verdicts(results) == [Verdict.HOLDS] * 2
    del results["tasks"]["citation_intent"]  # one task alone that says something
    assert verdicts(results) == [Verdict.IN_PART] * 2


@pytest.fixture
def cited(tmp_path: Path) -> Path:
    """Texts of two classes; one training text is a test text, too."""
    folder = tmp_path / "cited"
    folder.mkdir()
    for split, count in (("train", 16), ("dev", 4), ("test", 6)):
        rows = [
            {"text": f"the {'good' if at % 2 else 'bad'} {split} {'film ' * (at + 1)}", "label": f"l{at % 2}"}
            for at in range(count)
        ]
        if split == "train":
            rows.append({"text": f"the bad test {'film '}", "label": "l0"})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.mark.slow
def test_every_task_is_learned_after_every_adaptation_once(masked: Path, novels: Path, cited: Path, tmp_path: Path):
    scale = Scale(
        str(masked), str(novels), 0.2, ((str(cited), MACRO),), (1e-3, 2), 16, 4, 8, epochs=1, validation=4, seeds=(0, 1)
    )
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = run(runs, scale)
    assert results["tasks"][str(cited)]["dropped"] == 1
    assert [(line["arm"], line["seed"]) for line in results["lines"]] == [
        (arm, seed) for arm in ARMS for seed in (0, 1)
    ]
    assert all(len(line["predicted"].split()) == 6 for line in results["lines"])
    adapted = results["adaptation"]
    assert len({adapted[arm]["loss"] for arm in ARMS}) == 3
    before, after = (load_model(path, "masked-lm") for path in (masked, runs.at("adapt-domain") / "model"))
    assert not before.embeddings.token.weight.equal(after.embeddings.token.weight)
    assert run(runs, scale) == results
    assert heard == [
        "adapt-none",
        "adapt-domain",
        "adapt-unrelated",
        *(f"cited-{arm}-{seed}" for arm in ARMS for seed in (0, 1)),
    ]


def test_without_the_head_there_is_nothing_to_go_on_with(tiny: Path, tmp_path: Path):
    with pytest.raises(NotHere, match="has no masked-lm head"):
        run(Runs(tmp_path), Scale(str(tiny)))


@pytest.mark.parametrize("narrow", [False, True])
def test_the_picture_shows_every_task_and_arm(narrow: bool):
    results = made_up(dict.fromkeys(TASKS, (0.70, 0.76, 0.70)))
    (picture,) = EXPERIMENT.pictures
    with drawing():
        axes = picture.draw(results, narrow).axes[0]
    assert axes.get_legend_handles_labels()[1] == ["no adaptation", "novels", "the domain"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["ChemProt", "SciCite"]
    assert "macro for SciCite" in picture.describe(results)
