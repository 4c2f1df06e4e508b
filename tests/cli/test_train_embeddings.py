"""Sentence embeddings from the command line: trained, measured, written as vectors, with and without an adapter."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from minitl import load_sentence_encoder
from minitl.cli.main import main

THINGS = ["film", "book", "food", "hotel"]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Pairs that are alike where they speak of the same thing."""
    rng, rows = random.Random(0), ["first,second,likeness"]
    for i in range(80):
        one, other = rng.sample(THINGS, 2)
        other = one if i % 2 else other
        rows.append(f"the {one} was {rng.choice(['good', 'bad'])},a very fine {other},{5.0 if one == other else 0.0}")
    path = tmp_path / "scored.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def train(tiny: Path, data: Path, out: Path, *more: str) -> int:
    sets = [f"data.{pair}" for pair in ("anchor=first", "positive=second", "score=likeness", "highest=5.0")]
    arguments = ["train", str(tiny), "--task", "sentence-embedding", "--data", str(data), "--out", str(out)]
    rate = [] if "--learning-rate" in more else ["--learning-rate", "5e-3"]
    return main(
        [*arguments, "--epochs", "5", "--batch-size", "8", *rate, *(x for s in sets for x in ("--set", s)), *more]
    )


def test_a_model_of_scored_pairs(tiny: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    cosine = ["--set", "options.loss=cosine", "--set", "options.pooling=max", "--set", "data.test_fraction=0.2"]
    assert train(tiny, scored, out, *cosine) == 0
    facts = json.loads((out / "training.json").read_text())
    assert facts["test"]["spearman"] > 0.6
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(scored)]) == 0  # its columns are known from the training
    assert "80 examples: loss" in capsys.readouterr().out
    columns = ["--text", "first", "--pair", "second", "--label", "likeness"]
    assert main(["evaluate", str(out), "--task", "similarity", "--data", str(scored), *columns]) == 0
    assert "Spearman" in capsys.readouterr().out
    assert main(["predict", str(out), "a text"]) == 1
    assert "gives vectors: `minitl embed` writes them" in capsys.readouterr().err

    assert main(["embed", str(out), "the good film", "a day", "--out", str(tmp_path / "vectors.npy")]) == 0
    written = np.load(tmp_path / "vectors.npy")
    encoder = load_sentence_encoder(out / "model")
    assert encoder.pooling.modes == ("max",)
    np.testing.assert_allclose(encoder.encode(["the good film", "a day"]).numpy(), written, atol=1e-5)


def test_another_set_is_read_as_the_recipe_says(
    tiny: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out, rows = tmp_path / "out", scored.read_text().splitlines()
    assert train(tiny, scored, out, "--set", "options.loss=cosine", "--epochs", "1") == 0
    (same := tmp_path / "same.csv").write_text("\n".join(rows[:31]) + "\n")
    (other := tmp_path / "other.csv").write_text("\n".join(["sentence1,sentence2,score", *rows[1:31]]) + "\n")
    capsys.readouterr()
    caplog.clear()
    assert main(["evaluate", str(out), "--data", str(same)]) == 0  # both its scale and its columns
    said = capsys.readouterr().out.partition("30 examples: ")[2]
    assert said
    assert not caplog.messages
    assert main(["evaluate", str(out), "--data", str(other)]) == 0  # its scale, and columns of usual names
    assert capsys.readouterr().out.endswith(said)
    assert "other.csv is read by usual columns, not by those of the training" in caplog.text
    assert main(["evaluate", str(out), "--data", str(same), "--set", "data.highest=10"]) == 0
    assert not capsys.readouterr().out.endswith(said)
    assert main(["evaluate", str(out), "--data", str(same), "--set", "data.highest=4"]) == 1
    assert "a score from 0 to 4" in capsys.readouterr().err
    for wrong, message in {
        "data.source=a": "--set data.source: what is measured is all that --data names",
        "training.lr=1": "--set training: what is measured",
        "data.hihgest=5": "--set data: unknown key 'hihgest', did you mean 'highest'?",
        "data.highest=a": "--set data.highest must be a finite number, got 'a'",
    }.items():
        assert main(["evaluate", str(out), "--data", str(same), "--set", wrong]) == 1
        assert message in capsys.readouterr().err


def test_positives_by_their_score_under_an_adapter(
    tiny: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, merged = tmp_path / "out", tmp_path / "merged"
    lora = ["--strategy", "lora", "--learning-rate", "2e-2", "--set", "data.least=4.0", "--set", "options.dims=[24, 8]"]
    assert train(tiny, scored, out, *lora, "--set", "options.normalize=true") == 0
    assert json.loads((out / "training.json").read_text())["validation"].keys() == {"loss", "accuracy", "mrr"}
    assert main(["merge", str(out), str(merged)]) == 0
    for source in (out, merged):
        path = tmp_path / f"{source.name}.npy"
        assert main(["embed", str(source), "the good film", "--out", str(path)]) == 0
    vector = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(vector, np.load(tmp_path / "merged.npy"), atol=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    capsys.readouterr()


def test_a_mistake_is_one_line(tiny: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, complaint in (
        ("options.loss=cosin", "options: loss 'cosin': one of in-batch, cosine, triplet, contrastive"),
        ("options.dims=[24, 8.5]", "options.dims must be a list of whole numbers, got [24, 8.5]"),
        ("options.pooling=men", "options: pooling must be one of cls, max, mean"),
        ("options.dims=[48]", "dims (48,): this model's vectors have 24 numbers"),
        ("data.highest=4.0", "the column 'likeness' must hold a score from 0 to 4 (the option highest), found '5.0'"),
        ("options.loss=in-batch", "where all pairs are taken to belong together: choose them by `least`"),
    ):
        assert train(tiny, scored, tmp_path / "out", "--set", "options.loss=cosine", "--set", change) == 1
        message = capsys.readouterr().err
        assert complaint in message
        assert message.count("\n") == 1


def test_another_training_is_no_sentence_encoder(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", str(tiny), "--data", str(reviews), "--epochs", "1", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["embed", str(out), "a text", "--out", str(tmp_path / "v.npy")]) == 1
    assert "was taught classification" in capsys.readouterr().err
