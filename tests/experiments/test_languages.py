"""One model, several languages: neighbours by hand, tiny runs, verdicts on made-up results."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_model, load_tokenizer
from minitl.experiments.experiment import NotHere, judged
from minitl.experiments.languages import EXPERIMENT
from minitl.experiments.languages import run as languages
from minitl.experiments.languages.neighbours import found, text_vectors
from minitl.experiments.languages.run import Scale
from minitl.experiments.languages.words import LANGUAGES, WORDS, word_pairs
from minitl.experiments.runs import Runs
from minitl.nn.device import usual_device
from minitl.pages.claims import Verdict
from minitl.pages.drawing import drawing


def test_the_nearest_and_the_few_nearest_are_counted() -> None:
    target = torch.eye(4)
    source = torch.tensor([[9.0, 1, 0, 0], [2.0, 1, 0, 0], [0, 0, 3.0, 1], [3.0, 2, 2.5, 1]])
    assert found(source, target, most=2) == {"first": 2, "among": 3, "of": 4, "most": 2}


def test_vectors_that_are_all_one_find_nothing() -> None:
    assert found(torch.ones(7, 3), torch.ones(7, 3)) == {"first": 0, "among": 0, "of": 7, "most": 5}


def test_a_text_is_the_mean_of_its_tokens_less_that_of_all(tiny: Path) -> None:
    model, tokenizer = load_model(tiny, "backbone"), load_tokenizer(tiny)
    vectors = text_vectors(model, tokenizer, ["the film", "a good book"], layer=2)
    torch.testing.assert_close(vectors.mean(0), torch.zeros(vectors.shape[1]))
    states, other = (
        model(**tokenizer([text]).to(usual_device()), output_hidden_states=True).hidden_states[2][0, 1:-1].mean(0).cpu()
        for text in ("a good book", "the film")
    )
    torch.testing.assert_close(vectors[1], (states - other) / 2)


def test_words_are_there_once_and_pairs_are_not_spelt_alike() -> None:
    for place, language in enumerate(LANGUAGES):
        column = [row[place] for row in WORDS]
        assert len(set(column)) == len(column) > 100
        assert all(word == word.lower() and len(word.split()) == 1 for word in column)
        pairs = word_pairs(language)
        assert all(ours != theirs for ours, theirs in pairs)
        assert (not pairs) == (language == "en")
    assert ("hand", "hand") not in word_pairs("de")
    assert ("cat", "gato") in word_pairs("es")


@pytest.fixture
def scale(tiny: Path, tmp_path: Path) -> Scale:
    tags = {"the": "DET", "film": "NOUN", "was": "VERB", "good": "ADJ", ".": "PUNCT"}
    for language in ("en", "de", "hi"):
        folder = tmp_path / f"tags-{language}"
        folder.mkdir()
        sentence = "\n".join(f"{word}\t{tag}" for word, tag in tags.items())
        for split in ("train", "test") if language == "en" else ("test",):
            (folder / f"{split}.tsv").write_text(f"{sentence}\n\n" * 5)
        texts = tmp_path / f"texts-{language}"
        texts.mkdir()
        rows = ("sentence1,sentence2,label\nthe film,x,1.0\nthe book,x,2.0\nthe film,x,1.5\n",) * 2
        for split, content in zip(("train", "test"), rows, strict=True):
            (texts / f"{split}.csv").write_text(content)
    return Scale(
        str(tiny), str(tiny), (("XLM-R", str(tmp_path / "nothing")),), str(tmp_path / "tags-{}"),
        str(tmp_path / "texts-{}"), seen=("de",), unseen=("hi",), labels=4, epochs=1, tested=4, seeds=(0,),
    )  # fmt: skip


@pytest.mark.slow
def test_a_tiny_run_has_every_language_once(scale: Scale, tmp_path: Path) -> None:
    heard: list[str] = []
    runs = Runs(tmp_path / "out", heard.append)
    results = languages.run(runs, scale)
    assert [line["model"] for line in results["tagging"]["lines"]] == ["multilingual", "monolingual"]
    assert all(list(line["accuracy"]) == ["en", "de", "hi"] for line in results["tagging"]["lines"])
    assert results["tagging"]["floor"]["de"] == {"words": 20, "share": 0.2}
    near = results["near"]["multilingual"]
    assert near == results["near"]["monolingual"]
    assert near["words"]["de"]["of"] == len(word_pairs("de"))
    assert near["sentences"]["de"] == {"first": 2, "among": 2, "of": 2, "most": 5}  # one and the same language
    assert "XLM-R" in results["absent"]
    assert len(judged(EXPERIMENT, results)) == 4
    assert "Not at hand: XLM-R" in EXPERIMENT.tell(results)
    assert languages.run(runs, scale) == results
    assert heard == ["tags-multilingual-0", "near-multilingual", "tags-monolingual-0", "near-monolingual", "floor"]


def test_other_languages_are_looked_for_anew(scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_learn_tags", lambda *_: {"accuracy": {}})
    monkeypatch.setattr(languages, "_floor", lambda *_: {"shares": {}})
    monkeypatch.setattr(languages, "_near", lambda _source, asked, *_: {"words": list(asked.seen)})
    for seen in (("de",), ("de", "es")):
        results = languages.run(Runs(tmp_path / "out"), replace(scale, seen=seen))
        assert results["near"]["multilingual"]["words"] == list(seen)


def test_without_the_two_models_there_is_nothing_to_judge(scale: Scale, tmp_path: Path) -> None:
    with pytest.raises(NotHere):
        languages.run(Runs(tmp_path), replace(scale, multilingual=str(tmp_path / "absent")))


SEEN, UNSEEN = ["de", "es", "fr"], ["hi", "ar"]


def made_up(tags: tuple[float, float], words: tuple[int, int], sentences: tuple[int, int]) -> dict[str, Any]:
    """Results of three seeds: the multilingual model's, and its twin's, alike in what was read but English."""

    def line(model: str, other: float, seed: int) -> dict[str, Any]:
        accuracy = {"en": 0.9, **dict.fromkeys(SEEN, other), **dict.fromkeys(UNSEEN, 0.3)}
        return {
            "model": model,
            "seed": seed,
            "accuracy": {one: value + 0.001 * seed for one, value in accuracy.items()},
        }

    def near(among: int, first: int) -> dict[str, Any]:
        return {
            "layer": 3,
            "words": {one: {"first": among // 2, "among": among, "of": 100, "most": 5} for one in SEEN},
            "sentences": {one: {"first": first, "among": 500, "of": 500, "most": 5} for one in SEEN},
        }

    models = ("multilingual", "monolingual")
    return {
        "model": "m", "data": "d", "seeds": 3, "seen": SEEN, "unseen": UNSEEN,
        "tagging": {
            "floor": {one: {"words": 5000, "share": 0.2} for one in ["en", *SEEN, *UNSEEN]},
            "lines": [line(model, tags[i], seed) for i, model in enumerate(models) for seed in range(3)],
        },
        "near": {model: near(words[i], sentences[i]) for i, model in enumerate(models)},
        "absent": {"XLM-R": "no way to it"},
    }  # fmt: skip


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    return [claim.verdict for claim in judged(EXPERIMENT, results)]


def with_large(results: dict[str, Any], hindi: float, arabic: float) -> dict[str, Any]:
    accuracy = {**results["tagging"]["lines"][0]["accuracy"], "hi": hindi, "ar": arabic}
    results["tagging"]["lines"].append({"model": "XLM-R", "seed": 0, "accuracy": accuracy})
    return {**results, "absent": {}}


def test_where_it_is_as_the_guide_says_everything_holds() -> None:
    results = made_up((0.8, 0.4), (70, 10), (400, 50))
    assert verdicts(with_large(results, 0.8, 0.8)) == [Verdict.HOLDS] * 4


def test_where_the_twin_is_as_good_nothing_holds() -> None:
    results = made_up((0.8, 0.8), (70, 70), (400, 400))
    assert verdicts(with_large(results, 0.3, 0.3)) == [Verdict.FAILS] * 4


def test_where_it_is_ahead_and_does_not_work_it_holds_in_part() -> None:
    results = made_up((0.6, 0.4), (40, 10), (200, 50))
    assert verdicts(with_large(results, 0.3, 0.8)) == [Verdict.IN_PART] * 4


def test_a_lead_that_is_as_large_where_neither_read_the_language_is_no_transfer() -> None:
    results = made_up((0.8, 0.4), (70, 10), (400, 50))
    assert verdicts(results)[0] is Verdict.HOLDS
    for line in results["tagging"]["lines"]:
        line["accuracy"] |= dict.fromkeys(UNSEEN, line["accuracy"]["de"])
    assert verdicts(results)[0] is Verdict.FAILS


def test_a_lead_in_one_of_three_languages_must_exceed_the_noise_of_three_comparisons() -> None:
    results = made_up((0.4, 0.4), (10, 10), (50, 50))
    results["near"]["multilingual"]["words"]["de"]["among"] = 21  # 11 points ahead: ±10.2 of one, ±12.4 of three
    assert verdicts(results)[2] is Verdict.FAILS
    results["near"]["multilingual"]["words"]["de"]["among"] = 24
    assert verdicts(results)[2] is Verdict.IN_PART


def test_of_a_large_model_that_is_not_here_nothing_is_said() -> None:
    claim = judged(EXPERIMENT, made_up((0.8, 0.4), (70, 10), (400, 50)))[1]
    assert claim.verdict is Verdict.UNKNOWN
    assert "no way to it" in claim.measured
    assert "Hindi 30.1% (the commonest tag alone 20.0%)" in claim.measured


@pytest.mark.parametrize("narrow", [False, True])
def test_the_pictures_show_every_language_and_model(narrow: bool) -> None:
    results = made_up((0.8, 0.4), (70, 10), (400, 50))
    tagging, near = EXPERIMENT.pictures
    with drawing():
        axes = tagging.draw(results, narrow).axes[0]
        rows = [label.get_text() for label in axes.get_yticklabels()]
        drawn = {line.get_label() for line in near.draw(results, narrow).axes[0].get_lines()}
    assert rows == ["English", "German", "Spanish", "French", "Hindi, never read", "Arabic, never read"]
    assert {"multilingual", "monolingual twin", "chance"} <= drawn
    assert "French: multilingual 80.1%, monolingual twin 40.1%, the commonest tag 20.0%" in tagging.describe(results)
    assert "German sentence: multilingual 80.0%, monolingual twin 10.0%, chance 0.2%" in near.describe(results)
