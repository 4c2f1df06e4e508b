"""predict and evaluate without training."""

import json
from pathlib import Path

import pytest

from minitl import load_dataset, load_model, load_tokenizer, new_model, save_model
from minitl.cli.main import main
from minitl.data import sample
from minitl.prompting import PromptClassifier

TEMPLATE = "{text} it was {mask}"
LABELS = ["--labels", "positive", "negative", "--words", "good", "bad", "--template", TEMPLATE]


@pytest.fixture
def masked(tiny: Path, tmp_path: Path) -> Path:
    """The tiny BERT with a masked-language-model head."""
    config = load_model(tiny).config
    config.initializer_range = 0.4
    save_model(new_model(config, "masked-lm"), tmp_path / "masked", load_tokenizer(tiny))
    return tmp_path / "masked"


def classifier(folder: Path, **options: object) -> PromptClassifier:
    words = {"positive": "good", "negative": "bad"}
    return PromptClassifier(load_model(folder), load_tokenizer(folder), words, TEMPLATE, **options)


def test_predict_asks_for_the_labels(masked: Path, capsys: pytest.CaptureFixture[str]):
    texts = ["a fine film", "the poor food"]
    for options, calibrate in (([], True), (["--no-calibration"], False)):
        assert main(["predict", str(masked), *texts, "--json", *LABELS, *options]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        expected = classifier(masked, calibrate=calibrate)
        assert [row["label"] for row in rows] == expected.predict(texts)
        for row, scores in zip(rows, expected.scores(texts).exp().tolist(), strict=True):
            assert row["probabilities"] == pytest.approx(dict(zip(expected.labels, scores, strict=True)), abs=1e-5)


def test_labels_stand_for_themselves(masked: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(masked), "a film", "--labels", "good", "bad", "--template", TEMPLATE]) == 0
    assert capsys.readouterr().out.split("\t")[0] in ("good", "bad")


@pytest.mark.parametrize("shots", [0, 2])
def test_evaluate_counts_what_it_predicts(masked: Path, reviews: Path, shots: int, capsys: pytest.CaptureFixture[str]):
    data = load_dataset(reviews)
    names = data.label_names or []
    drawn = sample(data.train, shots, seed=3) if shots else []
    expected = classifier(masked, examples=[(example.text, names[int(example.label or 0)]) for example in drawn])
    predicted = expected.predict([example.text for example in data.test])
    hits = sum(names[int(example.label or 0)] == label for example, label in zip(data.test, predicted, strict=True))
    options = ["--shots", str(shots), "--seed", "3"]
    assert main(["evaluate", str(masked), "--data", str(reviews), *LABELS, *options]) == 0
    assert capsys.readouterr().out.startswith(f"{reviews} test, 20 examples: accuracy {hits / 20:.4f}, f1 ")


def test_a_trained_entailment_classifier_answers_other_labels(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = ["a good film,film good,entailment", "a bad film,good film,contradiction", "the day,food,neutral"] * 4
    (tmp_path / "nli.csv").write_text("\n".join(["text,pair,label", *rows]))
    out = str(tmp_path / "out")
    columns = ["--text", "text", "--pair", "pair", "--label", "label"]
    train = ["train", str(tiny), "--data", str(tmp_path / "nli.csv"), *columns, "--out", out, "--epochs", "1"]
    assert main([*train, "--batch-size", "4"]) == 0
    capsys.readouterr()
    assert main(["predict", out, "a good film", "--labels", "good", "bad", "--template", "it was {}"]) == 0
    assert capsys.readouterr().out.split("\t")[0] in ("good", "bad")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--template", TEMPLATE], "--template: only of use with --labels"),
        (["--no-calibration"], "--no-calibration: only of use with --labels"),
        (["--shots", "2"], "--shots: only of use with --labels"),
        ([*LABELS, "--words", "good"], "2 --labels and 1 --words: expected as many of each"),
        ([*LABELS, "--seed", "1"], "--seed: only of use with --shots"),
        ([*LABELS, "--shots", "65"], "--shots 65: expected 0 to 64, the examples in the training split"),
        ([*LABELS, "--shots", "-1"], "--shots -1: expected 0 to 64"),
        ([*LABELS, "--task", "similarity"], "--labels: only of use with --task classification"),
        ([*LABELS, "--labels", "positive", "neutral"], "its labels are ['negative', 'positive'], --labels are"),
        ([*LABELS, "--max-length", "33"], "max_length 33: expected 1 to 32"),
        ([*LABELS, "--template", "it was {mask}"], "must hold {text} and {mask}, each exactly once"),
        (["--labels", "positive", "negative", "--template", TEMPLATE], "are not in this tokenizer's vocabulary"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    masked: Path, reviews: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", str(masked), "--data", str(reviews), *options]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_a_checkpoint_without_a_head_is_one_line(tiny: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(tiny), "a film", "--labels", "good", "bad"]) == 1
    assert 'has the task "backbone", which answers no prompt' in capsys.readouterr().err


def test_pairs_and_unlabelled_shots_are_one_line(masked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text,pair,label\ngood,bad,positive\nbad,bad,negative\n")
    assert main(["evaluate", str(masked), "--data", str(pairs), "--text", "text", "--pair", "pair", *LABELS]) == 1
    assert "holds pairs of texts, and a prompt has a place for one" in capsys.readouterr().err
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    (folder / "train.csv").write_text("text\ngood\nbad\n")
    (folder / "test.csv").write_text("text,label\ngood,positive\nbad,negative\n")
    assert main(["evaluate", str(masked), "--data", str(folder), *LABELS, "--shots", "2"]) == 1
    assert capsys.readouterr().err.endswith("its training split has no labels to show\n")


def test_a_published_llama_answers_on_real_data(assets: Path, capsys: pytest.CaptureFixture[str]):
    llama = str(assets / "weights" / "stories260K")
    ask = [
        "--labels",
        "negative",
        "positive",
        "--words",
        "bad",
        "good",
        "--template",
        "{text}\\nIt was ",
        "--shots",
        "2",
    ]
    assert main(["evaluate", llama, "--data", "sst2", *ask]) == 0
    found = capsys.readouterr().out
    assert found.startswith("sst2 test, 872 examples: accuracy 0.")
