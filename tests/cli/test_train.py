"""train, predict, evaluate and merge, one after the other, as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minitl.cli.main import main

FAST = ["--epochs", "12", "--batch-size", "8", "--learning-rate", "5e-3", "--max-length", "16"]


@pytest.mark.parametrize("strategy", ["full", "gradual", "lora"])
def test_what_is_trained_predicts_and_merges(
    tiny: Path, reviews: Path, tmp_path: Path, strategy: str, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    longer = ["--learning-rate", "2e-2", "--epochs", "24"] if strategy == "lora" else []
    train = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--strategy", strategy, *FAST, *longer]
    assert main(train) == 0
    facts = json.loads((out / "training.json").read_text())
    assert facts["labels"] == ["negative", "positive"]
    assert facts["test"]["accuracy"] > 0.85
    capsys.readouterr()

    texts = ["really good food", "a very bad hotel"]
    assert main(["predict", str(out), *texts]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["positive", "negative"]
    assert [row[2] for row in rows] == texts

    assert main(["evaluate", str(out), "--data", str(reviews)]) == 0
    assert f"accuracy {facts['test']['accuracy']:.4f}" in capsys.readouterr().out

    if strategy == "lora":
        assert main(["merge", str(out), str(tmp_path / "merged")]) == 0
        capsys.readouterr()
        assert main(["predict", str(tmp_path / "merged"), "--json", *texts]) == 0
        merged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for row, answer in zip(rows, merged, strict=True):
            assert answer["label"] == row[0]
            assert answer["probabilities"][row[0]] == pytest.approx(float(row[1]), abs=1e-4)


def test_predict_reads_standard_input(tiny: Path, reviews: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert main(["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "1"]) == 0
    ran = subprocess.run(
        [sys.executable, "-m", "minitl", "predict", str(out), "--json"],
        input="good film\nbad film\n",
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["good film", "bad film"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) for row in rows)


def test_a_checkpoint_without_a_classifier_does_not_predict(tiny: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(tiny), "a text"]) == 1
    assert "is a backbone checkpoint, without a trained classifier" in capsys.readouterr().err


def test_data_without_the_column_is_refused_and_nothing_is_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = tmp_path / "data.csv"
    data.write_text("words,label\ngood,1\nbad,0\n")
    out = tmp_path / "out"
    assert main(["train", str(tiny), "--data", str(data), "--text", "review", "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "'review'" in message
    assert "words" in message
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_says_how_to_go_on_and_ends_as_an_unbroken_one(
    tiny: Path, reviews: Path, tmp_path: Path, signum: int, code: int
):
    def command(out: Path) -> list[str]:
        words = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "60", "--batch-size", "4"]
        return [sys.executable, "-m", "minitl", *words]

    process = subprocess.Popen(command(tmp_path / "broken"), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "broken" / "log.jsonl").exists():  # written at the end of an epoch
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signum)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the same command goes on from there" in message
    assert "Traceback" not in message
    for out in (tmp_path / "broken", tmp_path / "unbroken"):
        subprocess.run(command(out), check=True)
    name = "model/model.safetensors"
    assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_epoch(tiny: Path, reviews: Path, tmp_path: Path):
    def command(out: Path) -> list[str]:
        words = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "60", "--batch-size", "4"]
        return [sys.executable, "-m", "minitl", *words]

    process = subprocess.Popen(command(tmp_path / "killed"))
    while not (tmp_path / "killed" / "state.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    for out in (tmp_path / "killed", tmp_path / "unbroken"):
        subprocess.run(command(out), check=True)
    name = "model/model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
