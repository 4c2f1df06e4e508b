"""The four steps of the evolution: the vectors of a word by hand, tiny runs, verdicts on made-up results."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_model, load_tokenizer
from minitl.experiments.evolution import EXPERIMENT
from minitl.experiments.evolution import run as evolution
from minitl.experiments.evolution.pretraining import STEPS, Budget, pretraining
from minitl.experiments.evolution.run import Scale
from minitl.experiments.evolution.senses import components, occurrences, sense_numbers, told_apart
from minitl.experiments.evolution.sentences import SENSES, WORD
from minitl.experiments.experiment import judged
from minitl.experiments.runs import Runs
from minitl.nn.device import usual_device
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing
from tests.probing.tasks.made import write_treebank

SENSE = torch.tensor([0, 0, 0, 1, 1, 1])


def test_every_sentence_has_the_word_once_and_the_senses_are_as_many() -> None:
    assert all(sentence.split().count(WORD) == 1 for sentences in SENSES.values() for sentence in sentences)
    river, money = SENSES.values()
    assert len(river) == len(money) == len(set(river)) == len(set(money))
    assert sense_numbers(SENSES).tolist() == [0] * len(river) + [1] * len(money)


def test_senses_that_lie_apart_are_told_apart() -> None:
    vectors = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-0.1, 1.0], [0.0, 1.0], [0.1, 1.0]])
    found = told_apart(vectors, SENSE)
    assert found["right"] == found["occurrences"] == 6
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    within = [float(unit[i] @ unit[j]) for i, j in ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5))]
    assert found["within"] == pytest.approx(sum(within) / 6)
    assert found["between"] == pytest.approx(float((unit[:3] @ unit[3:].T).mean()), abs=1e-6)


def test_one_vector_tells_nothing_and_counts_half() -> None:
    vectors = torch.ones(6, 4) / 2
    found = told_apart(vectors, SENSE)
    assert found["right"] == 3
    assert found["within"] == found["between"] == pytest.approx(1.0)
    assert components(vectors) == [[0.0, 0.0]] * 6


def test_an_occurrence_is_left_out_of_its_own_centroid() -> None:
    # The first is nearer to the other sense, but would pull its own centroid to itself.
    vectors = torch.tensor([[-3.0, 0.0], [2.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [-2.0, 0.0], [-2.0, 0.0]])
    assert told_apart(vectors, SENSE)["right"] == 5


def test_components_keep_distances_of_what_lies_in_a_plane() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(7, 2) @ torch.linalg.qr(torch.randn(5, 2))[0].T
    torch.testing.assert_close(torch.cdist(torch.tensor(components(vectors)), torch.zeros(1, 2))[:, 0],
                               (vectors - vectors.mean(0)).norm(dim=-1))  # fmt: skip


def test_a_transformer_gives_a_word_another_vector_in_each_sentence(tiny: Path) -> None:
    model, tokenizer = load_model(tiny, "backbone"), load_tokenizer(tiny)
    senses = {"one": ("the film was good", "a good book"), "other": ("it was not good", "very good food")}
    vectors = occurrences(model, tokenizer, senses, "good")
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))
    states = model(**tokenizer(["a good book"]).to(usual_device()), output_hidden_states=True).hidden_states
    above = torch.cat([torch.nn.functional.normalize(state[0, 2], dim=-1) for state in states[1:]])
    torch.testing.assert_close(vectors[1], above.cpu() / len(states[1:]) ** 0.5)
    assert float((vectors @ vectors.T).min()) < 0.999


CHANGES = {
    "word2vec": {"hidden_size": 8},
    "elmo": {"projection_size": 4, "cell_size": 6, "num_hidden_layers": 1},
    "bert": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "initializer_range": 0.5,  # else a layer adds little to what it reads
    },
    "gpt": {"n_embd": 8, "n_layer": 1, "n_head": 2},
}


@pytest.fixture
def scale(tmp_path: Path, reviews: Path, tiny: Path) -> Scale:
    text = "\n\n".join("\n".join(sentences[i::4]) for sentences in SENSES.values() for i in range(4))
    (tmp_path / "novels.txt").write_text(text)
    tagged = "\n".join(f"{word} {'NOUN' if word == 'hotel' else 'X'}" for word in ["we", "the", "hotel"])
    (tmp_path / "tagged").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "tagged" / f"{split}.conll").write_text(f"{tagged}\n\n" * 4)
    budget = Budget(str(tmp_path / "novels.txt"), 120, steps=2, batch_size=4, length=16, changes=CHANGES)
    treebank = write_treebank(tmp_path / "treebank")
    return Scale(
        budget, ("pos",), str(treebank), 4, str(reviews), str(tmp_path / "tagged"), str(tiny), labels=4, epochs=1,
        rates=(1e-3, 1e-2), seeds=(0, 1), twins=1,
    )  # fmt: skip


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither probes nor fine-tuned models learn anything: what they would say is made up."""
    curve = {"best": 0, "scores": [{"mean": 0.5, "low": 0.4, "high": 0.6}]}
    pos = {"title": "part of speech", "model": curve, "twin": curve, "floor": 0.3, "examples": {}}
    monkeypatch.setattr(evolution, "_probe", lambda *_: {"tasks": {"pos": pos}})
    monkeypatch.setattr(evolution, "_tune", lambda values, *_: {"validation": values["training"]["seed"], "test": 0.5})


@pytest.mark.slow
def test_all_runs_are_carried_out_once_and_told_of(scale: Scale, tmp_path: Path) -> None:
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = evolution.run(runs, scale)
    names = [step.name for step in STEPS]
    assert list(results["taught"]) == list(results["probed"]) == list(results["bank"]) == names
    assert all(one["flops"] > 0 and one["steps"] == 2 for one in results["taught"].values())
    assert results["bank"]["word2vec"]["distance"] < 1e-5
    assert results["bank"]["word2vec"]["model"]["right"] == len(results["bank"]["word2vec"]["senses"]) / 2
    assert all(results["bank"][name]["distance"] > 1e-3 for name in names[1:])
    for one in results["probed"].values():
        assert 0 <= one["pos"]["floor"] <= 1
        assert len(one["pos"]["twin"]["scores"]) == len(one["pos"]["model"]["scores"])
    for part in results["tuned"].values():
        assert all(0 <= line["test"] <= 1 for line in part["lines"])
        arms = [line["arm"] for line in part["lines"]]
        assert arms == [arm for arm in (*names, "scratch") for _ in range(3)]  # two rates, and another seed of one
    assert len(judged(EXPERIMENT, results)) == 5
    assert "TFLOP" in EXPERIMENT.tell(results)
    done = len(heard)
    assert evolution.run(runs, scale) == results
    assert len(heard) == done == 1 + 4 * 3 + 1 + 2 * 5 * 3


@pytest.fixture
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read, taught or asked: what each run would give is empty, and what it would make an empty folder."""

    def made(name: str, folder: Path) -> dict[str, Any]:
        (folder / name).mkdir(exist_ok=True)
        return {}

    monkeypatch.setattr(evolution, "learn_vocabulary", lambda _budget, folder: made("tokenizer", folder))
    monkeypatch.setattr(evolution, "pretrain", lambda _values, folder, _listener: made("model", folder))
    monkeypatch.setattr(evolution, "_bank", lambda *_: {})


def _heard_anew(scale: Scale, tmp_path: Path) -> list[str]:
    heard: list[str] = []
    evolution.run(Runs(tmp_path / "out", heard.append), scale)
    return heard


@pytest.mark.usefixtures("stubbed", "untaught")
def test_what_was_taught_otherwise_is_probed_and_fine_tuned_anew(
    scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _heard_anew(scale, tmp_path)
    assert _heard_anew(scale, tmp_path) == []

    def faster(step: Any, budget: Budget, vocabulary: Path) -> dict[str, Any]:
        values = pretraining(step, budget, vocabulary)
        values["training"]["learning_rate"] *= 1 + (step.name == "gpt")
        return values

    monkeypatch.setattr(evolution, "pretraining", faster)
    heard = _heard_anew(scale, tmp_path)
    assert heard[:3] == ["pretrain-gpt", "probes-gpt", "bank-gpt"]
    assert [key.split("-")[:2] for key in heard[3:]] == [[name, "gpt"] for name in ("reviews", "tagged") for _ in "123"]


@pytest.mark.usefixtures("stubbed", "untaught")
def test_probes_of_more_seeds_and_other_sentences_are_other_runs(
    scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _heard_anew(scale, tmp_path)
    heard = _heard_anew(replace(scale, seeds=(0, 1, 2)), tmp_path)
    assert [key for key in heard if key.startswith("probes")] == [f"probes-{step.name}" for step in STEPS]
    monkeypatch.setattr(evolution, "SENSES", {sense: sentences[:4] for sense, sentences in SENSES.items()})
    assert [key for key in _heard_anew(replace(scale, seeds=(0, 1, 2)), tmp_path) if key.startswith("bank")] == [
        *(f"bank-{step.name}" for step in STEPS),
        "bank-far",
    ]


def test_a_budget_replaces_that_of_the_recipe_and_nothing_else(tmp_path: Path) -> None:
    values = pretraining(STEPS[2], Budget(text="a.txt", vocabulary=99, steps=7, batch_size=3, length=32), tmp_path)
    assert values["model"]["config"]["vocab_size"] == 99
    assert values["model"]["config"]["hidden_size"] == 256
    assert (values["data"]["source"], values["options"]["max_length"]) == ("a.txt", 32)
    assert (values["training"]["steps"], values["training"]["batch_size"]) == (7, 3)
    assert values["training"]["learning_rate"] == 1e-3
    assert not {"epochs", "evaluate_every"} & set(values["training"])


def made_up(level: dict[str, float], right: dict[str, float], distance: float = 0.5) -> dict[str, Any]:
    """Results in which each arm has one level in every measure, and so many of 60 occurrences told."""
    names = [step.name for step in STEPS]

    def curve(mean: float) -> dict[str, Any]:
        return {"best": 0, "scores": [{"mean": mean, "low": mean - 0.01, "high": mean + 0.01}]}

    def lines(arm: str) -> list[dict[str, Any]]:
        return [
            {"arm": arm, "rate": rate, "seed": seed, "validation": rate, "test": level[arm] + 0.001 * seed}
            for rate, seed in ((0.1, 0), (0.2, 0), (0.2, 1))
        ]

    bank = {
        name: {
            "model": {"within": 0.9, "between": 0.8, "right": right[name] * 60, "occurrences": 60},
            "twins": [{"within": 0.9, "between": 0.9, "right": 30, "occurrences": 60}],
            "places": [[0.0, float(i)] for i in range(60)],
            "senses": [0] * 30 + [1] * 30,
            "distance": 0.0 if name == "word2vec" else distance,
        }
        for name in names
    }
    far = {**copy.deepcopy(bank["bert"]), "model_name": "all-published"}
    probes = {
        name: {"pos": {"title": "part of speech", "model": curve(level[name]), "twin": curve(0.4)}} for name in names
    }
    tuned = {"size": 1000, "lines": [line for arm in (*names, "scratch") for line in lines(arm)]}
    taught = {name: {"flops": 1e12, "total": 1e6} for name in names}
    budget = {"vocabulary": 100, "tokens": 1000, "steps": 10}
    return {
        "model": "m", "data": "d", "seeds": 2, "budget": budget, "taught": taught, "probed": probes,
        "tuned": {"reviews": tuned, "tagged": copy.deepcopy(tuned)}, "bank": bank, "far": far,
    }  # fmt: skip


RISING = {"word2vec": 0.5, "elmo": 0.6, "bert": 0.7, "gpt": 0.8, "scratch": 0.5}
LEVEL = dict.fromkeys(RISING, 0.6)
TOLD = {"word2vec": 0.5, "elmo": 0.98, "bert": 0.98, "gpt": 1.0}


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def test_where_each_step_is_ahead_and_the_senses_are_told_everything_holds() -> None:
    assert verdicts(made_up(RISING, TOLD)) == [Verdict.HOLDS] * 5


def test_where_all_are_level_and_one_vector_is_everywhere_nothing_holds() -> None:
    assert verdicts(made_up(LEVEL, dict.fromkeys(TOLD, 0.5), distance=0.0)) == [Verdict.FAILS] * 5


def test_where_some_are_ahead_it_holds_in_part() -> None:
    results = made_up({**LEVEL, "bert": 0.7}, {**TOLD, "elmo": 0.55, "bert": 0.8})
    results["bank"]["elmo"]["distance"] = 0.0
    assert verdicts(results) == [Verdict.IN_PART] * 5


def test_chance_is_no_measurement_and_has_no_noise() -> None:
    results = made_up(RISING, TOLD)
    results["far"]["twins"] = [{**results["far"]["twins"][0], "right": 20}] * 3  # below chance
    results["far"]["model"]["right"] = 30
    assert verdicts(results)[1] is Verdict.FAILS
    results["far"]["model"]["right"] = 40
    assert verdicts(results)[1] is Verdict.IN_PART


def test_the_senses_are_judged_by_the_published_model() -> None:
    results = made_up(RISING, dict.fromkeys(TOLD, 0.5))
    assert verdicts(results)[1] is Verdict.FAILS
    results["far"]["model"]["right"] = 59
    assert verdicts(results)[1] is Verdict.HOLDS


def test_a_static_model_that_moves_is_not_static() -> None:
    results = made_up(RISING, TOLD)
    results["bank"]["word2vec"]["distance"] = 0.3
    assert verdicts(results)[0] is Verdict.FAILS


def test_the_rate_is_chosen_on_validation() -> None:
    results = made_up(RISING, TOLD)
    for line in results["tuned"]["reviews"]["lines"]:
        if line["arm"] == "bert" and line["rate"] == 0.1:
            line["test"] = 0.99
    assert "BERT against word2vec: sentiment +20.0 points" in judged(EXPERIMENT, results)[3].measured


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_show_every_model_and_measure(narrow: bool) -> None:
    results = made_up(RISING, TOLD)
    bank, steps = EXPERIMENT.pictures
    with drawing():
        figure = bank.draw(results, narrow)
        assert [axes.get_title() for axes in figure.axes] == [*(step.title for step in STEPS), "published"]
        assert all(len(part.get_offsets()) == 30 for axes in figure.axes for part in axes.collections)
        lines = {line.get_label() for line in steps.draw(results, narrow).axes[0].get_lines()}
    assert {"part of speech, probed", "sentiment", "part of speech, fine-tuned"} <= lines
    assert "ELMo 98.0%" in bank.describe(results)
    assert "sentiment: word2vec 50.0%, ELMo 60.1%" in steps.describe(results)
