"""The experiment on held layers: its runs on a tiny model, and its verdicts on made-up results."""

import random
from pathlib import Path

import pytest

from minitl.experiments.experiment import judged
from minitl.experiments.freezing import EXPERIMENT
from minitl.experiments.freezing.run import WAYS, Scale, held_layers, run
from minitl.experiments.paired import written
from minitl.experiments.runs import Runs
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing

ITEMS = 400
SUBJECTS = ("classes", "tags")
RISING = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3]


def lines(wrong: dict[str, float], changes: list[float]) -> list[dict]:
    """Three seeds; what is wrong with a way is wrong with all that get more wrong."""
    found = []
    for way in WAYS:
        for seed in range(3):
            count = round(wrong[way] * ITEMS) + seed
            line = {"way": way, "seed": seed, "wrong": written([1] * count + [0] * (ITEMS - count))}
            if way == "all":
                line["alike"] = [1 - change - 0.001 * seed for change in changes]
            found.append(line)
    return found


def made_up(classes: dict[str, float], tags: dict[str, float], changes: list[float] = RISING) -> dict:
    held = {way: list(held_layers(way, 6)) for way in WAYS}
    told = {
        subject: {"sizes": written([1] * ITEMS), "lines": lines(wrong, changes)}
        for subject, wrong in zip(SUBJECTS, (classes, tags), strict=True)
    }
    return {"model": "m", "data": "d", "seeds": 3, "layers": 6, "held": held, **told}


def wrong(bottom: float, top: float) -> dict[str, float]:
    return dict(zip(WAYS, (0.10, bottom, bottom, top, top), strict=True))


def verdicts(results: dict) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_a_share_of_the_layers_is_held_from_either_end():
    assert [held_layers(way, 6) for way in WAYS] == [(), (0, 1), (0, 1, 2), (3, 4, 5), (4, 5)]
    assert held_layers("bottom quarter", 12) == (0, 1, 2)
    assert held_layers("top quarter", 12) == (9, 10, 11)


def test_where_it_is_as_the_guide_says_everything_holds():
    assert verdicts(made_up(wrong(0.10, 0.20), wrong(0.10, 0.20))) == [Verdict.HOLDS] * 3


def test_where_it_is_otherwise_nothing_holds():
    found = verdicts(made_up(wrong(0.25, 0.10), wrong(0.25, 0.10), RISING[::-1]))
    assert found == [Verdict.FAILS] * 3


def test_where_the_tasks_differ_it_holds_in_part():
    assert verdicts(made_up(wrong(0.10, 0.20), wrong(0.25, 0.10)))[:2] == [Verdict.IN_PART] * 2


def test_a_difference_within_the_noise_is_no_loss_and_no_lead():
    assert verdicts(made_up(wrong(0.102, 0.102), wrong(0.102, 0.102)))[:2] == [Verdict.HOLDS, Verdict.FAILS]


def test_where_the_noise_is_wide_nothing_can_be_said_of_no_loss_and_no_lead():
    results = made_up(wrong(0.10, 0.10), wrong(0.10, 0.10))
    for subject in SUBJECTS:
        for line in results[subject]["lines"]:
            if line["way"] == "bottom quarter":  # as many wrong, but others
                line["wrong"] = " ".join(reversed(line["wrong"].split()))
    assert verdicts(results)[:2] == [Verdict.UNKNOWN] * 2


def test_a_lead_on_one_of_two_tasks_must_exceed_the_noise_of_two_comparisons():
    results = made_up(wrong(0.10, 0.20), wrong(0.10, 0.20), [0.01] * 7)
    for line in results["classes"]["lines"]:
        if line["way"] == "all":  # ahead by 0.03: ±0.025 of one, ±0.036 of two
            line["alike"][5] = line["alike"][6] = 0.99 - (0.02, 0.03, 0.04)[line["seed"]]
    assert verdicts(results)[2] is Verdict.FAILS


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """Sentences of few words, each tagged by whether it is one of two."""
    rng = random.Random(0)
    folder = tmp_path / "tagged"
    folder.mkdir()
    for split, count in (("train", 24), ("validation", 8), ("test", 8)):
        sentences = [rng.choices(["good", "bad", "film", "was"], k=4) for _ in range(count)]
        told = ("\n".join(f"{word}\t{'A' if word in ('good', 'bad') else 'N'}" for word in one) for one in sentences)
        (folder / f"{split}.tsv").write_text("\n\n".join(told) + "\n")
    return folder


@pytest.mark.slow
def test_every_way_is_run_on_both_tasks_once(tiny: Path, reviews: Path, tagged: Path, tmp_path: Path):
    scale = Scale(str(tiny), str(reviews), str(tagged), 16, 16, epochs=1, seeds=(0,), validation=4, tested=6, read=4)
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = run(runs, scale)
    assert results["held"]["bottom quarter"] == [0]
    for subject, words in (("classes", 1), ("tags", 4)):
        assert results[subject]["sizes"] == written([words] * 6)
        assert [line["way"] for line in results[subject]["lines"]] == list(WAYS)
        alike = [line.get("alike") for line in results[subject]["lines"]]
        assert len(alike[0]) == 4
        assert all(0 < one <= 1 for one in alike[0])
        assert alike[1:] == [None] * 4
    assert run(runs, scale) == results
    assert len(heard) == 10


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_show_both_tasks(narrow: bool):
    results = made_up(wrong(0.10, 0.20), wrong(0.10, 0.20))
    cost, change = EXPERIMENT.pictures
    with drawing():
        figures = [picture.draw(results, narrow) for picture in (cost, change)]
    assert figures[0].axes[0].get_legend_handles_labels()[1] == ["sentiment", "parts of speech"]
    assert {"sentiment", "parts of speech"} <= {line.get_label() for line in figures[1].axes[0].get_lines()}
    assert "top quarter 79.8%" in cost.describe(results)
    assert "0.301" in change.describe(results)


def test_the_paragraph_names_every_way():
    told = EXPERIMENT.tell(made_up(wrong(0.10, 0.20), wrong(0.10, 0.20)))
    assert all(way in told for way in WAYS[1:])
