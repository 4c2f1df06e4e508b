"""train, predict, evaluate and merge, one after the other, as a user types them."""

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from minitl import LoraConfig, load_model, load_tokenizer
from minitl.cli import rates
from minitl.cli.main import main
from minitl.cli.train import _first_speaks
from minitl.errors import CheckpointError
from minitl.training import FROZEN, FULL, GRADUAL, NEW_TOKENS, RangeTest, Settings, Strategy

# A tiny model gains nothing by a second thread, and waits long for it on a busy machine.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
FAST = ["--epochs", "12", "--batch-size", "8", "--learning-rate", "5e-3", "--max-length", "16"]


@pytest.mark.parametrize("strategy", ["full", "gradual", "lora"])
def test_what_is_trained_predicts_and_merges(
    tiny: Path, reviews: Path, tmp_path: Path, strategy: str, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    longer = ["--learning-rate", "1e-2", "--epochs", "24"] if strategy == "lora" else []
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

    assert main(["generate", str(out), "A film"]) == 1
    assert capsys.readouterr().err == f"minitl: {out} was taught classification, and writes nothing\n"
    where = "is an adapter for `load_adapter`" if strategy == "lora" else f"its checkpoint is in {out / 'model'}"
    for load in (load_model, load_tokenizer):
        with pytest.raises(CheckpointError, match=re.escape(where)):
            load(out)

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
    assert "is a backbone checkpoint, without a trained head" in capsys.readouterr().err


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


def train(tiny: Path, reviews: Path, out: Path, *options: str) -> int:
    return main(["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "1", *options])


def test_an_unwritable_place_is_refused_before_any_work(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("minitl.tasks.sources.load_dataset", lambda *_, **__: pytest.fail("work was begun"))
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        assert train(tiny, reviews, out) == 1
        assert capsys.readouterr().err == f"minitl: {out}: cannot write here: Not a directory\n"
    assert (tmp_path / "file").read_text() == "mine"


def test_the_last_training_into_a_folder_is_the_one_that_predicts(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(tiny, reviews, tmp_path / "out", "--strategy", "lora") == 0
    assert train(tiny, reviews, tmp_path / "out") == 1
    assert "holds a finished training: name another --out, or replace it with --restart" in capsys.readouterr().err
    assert train(tiny, reviews, tmp_path / "out", "--restart") == 0
    capsys.readouterr()
    answers = []
    for folder in (tmp_path / "out", tmp_path / "out" / "model"):
        assert main(["predict", str(folder), "good film"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert main(["merge", str(tmp_path / "out"), str(tmp_path / "merged")]) == 1
    assert "holds a model trained by full" in capsys.readouterr().err


def test_texts_are_cut_as_in_the_training(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(tiny, reviews, tmp_path / "out", "--max-length", "5") == 0
    capsys.readouterr()
    short, long = "good film was", "good film was bad bad bad"  # alike in their first three words
    for options, alike in (((), True), (("--max-length", "12"), False)):
        assert main(["predict", str(tmp_path / "out"), "--json", short, long, *options]) == 0
        first, second = (json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines())
        assert (first["positive"] == pytest.approx(second["positive"], abs=1e-7)) is alike


def test_a_test_split_without_labels_is_passed_over(tiny: Path, reviews: Path, tmp_path: Path):
    (reviews / "test.csv").write_text("text\ngood film\nbad film\n")
    assert train(tiny, reviews, tmp_path / "out") == 0
    assert "test" not in json.loads((tmp_path / "out" / "training.json").read_text())


def test_other_settings_than_those_of_the_interrupted_training_need_a_restart(
    tiny: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full_disk(*_: object, **__: object) -> None:
        raise CheckpointError("no space left")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("minitl.models.loading.save_model", full_disk)
        assert train(tiny, reviews, out) == 1
    assert (out / "states").exists()  # what was trained is not lost
    assert train(tiny, reviews, out, "--seed", "1") == 1
    message = capsys.readouterr().err
    assert "differs: settings.seed was 0 and is 1: go on as it began, " in message
    assert message.endswith("begin anew (--restart), or go on all the same (--force)\n")
    assert train(tiny, reviews, out, "--seed", "1", "--force") == 0  # the old one's weights, by the new one's name
    assert tomllib.loads((out / "recipe.toml").read_text())["training"]["seed"] == 1
    assert train(tiny, reviews, out, "--seed", "1", "--restart") == 0
    assert not (out / "states").exists()


def test_a_training_that_diverges_leaves_its_last_good_weights(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert train(tiny, reviews, out, "--learning-rate", "1e30", "--warmup", "0", "--batch-size", "8") == 1
    message = capsys.readouterr().err
    assert re.search(r"minitl: the (loss|gradient's norm) is (nan|inf) at step 2 of \d+ \(epoch 1\)", message)
    assert message.endswith(f"those weights are in {out / 'model'}\n")
    assert (out / "model" / "model.safetensors").exists()
    assert not (out / "states").exists()


def test_one_label_makes_no_classifier(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "same.csv").write_text("text,label\na film,good\na book,good\nthe day,good\n")
    assert train(tiny, tmp_path / "same.csv", tmp_path / "out") == 1
    assert "a classifier needs two labels or more, found ['good']" in capsys.readouterr().err


def test_an_adapter_is_merged_into_the_base_that_it_names_and_brings_its_head(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    assert train(tiny, reviews, tmp_path / "out", "--strategy", "lora") == 0
    caplog.clear()
    task = ["--task", "sequence-classification"]
    assert main(["merge", str(tmp_path / "out" / "adapter"), str(tmp_path / "merged"), *task]) == 0
    capsys.readouterr()
    answers = []
    for folder in ("out", "merged"):
        assert main(["predict", str(tmp_path / folder), "good film"]) == 0
        answers.append(capsys.readouterr().out.split("\t")[1])
    assert float(answers[0]) == pytest.approx(float(answers[1]), abs=2e-4)
    assert "untrained" not in caplog.text
    assert main(["merge", str(tmp_path / "out" / "adapter"), str(tmp_path / "merged"), *task]) == 1
    assert "merged holds a checkpoint or a training already" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "merged"), str(tmp_path / "m")]) == 1
    assert "merged holds no adapter: neither adapter_config.json nor" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "out" / "adapter"), "A text."]) == 1
    assert "holds an adapter and no model" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "nowhere"), str(tmp_path / "m")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "adapted"),
    [
        (["query"], {f"{layer}.attention.self.query" for layer in range(3)}),
        (
            ["attention.value", "intermediate.dense"],  # this library's name of one, the published of another
            {f"{layer}.{name}" for layer in range(3) for name in ("attention.self.value", "intermediate.dense")},
        ),
        ([r".*layer\.0\..*(query|key)"], {"0.attention.self.query", "0.attention.self.key"}),
    ],
    ids=["a name", "ends of paths", "an expression"],
)
def test_target_modules_are_names_or_one_regular_expression(
    tiny: Path, reviews: Path, tmp_path: Path, words: list[str], adapted: set[str]
):
    assert train(tiny, reviews, tmp_path / "out", "--strategy", "lora", "--target-modules", *words) == 0
    with safe_open(tmp_path / "out" / "adapter" / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    prefix, suffix = "base_model.model.bert.encoder.layer.", ".lora_A.weight"
    assert {n.removeprefix(prefix).removesuffix(suffix) for n in names if n.endswith(suffix)} == adapted


def test_the_defaults_are_those_of_the_library(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for strategy in (FULL, FROZEN, GRADUAL):
        out = tmp_path / strategy.name
        words = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--strategy", strategy.name]
        assert main(words) == 0
        settings = json.loads((out / "training.json").read_text())["recipe"]["training"]
        defaults = Settings().with_rate(strategy.usual_rate).to_dict()
        assert settings == {name: value for name, value in defaults.items() if value is not None}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lora = Strategy("lora", lora=LoraConfig())
    wanted = [f"{strategy.usual_rate:.0e}".replace("e-0", "e-") for strategy in (FULL, lora, NEW_TOKENS, FROZEN)]
    shown = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "default: {}; {} for lora, {} for new-tokens, {} for frozen".format(*wanted) in shown


def test_lora_plus_is_an_option_that_is_written_down(tiny: Path, reviews: Path, tmp_path: Path):
    files = []
    for name, options in (("alike", ()), ("plus", ("--lora-plus-ratio", "16"))):
        out = tmp_path / name
        assert train(tiny, reviews, out, "--strategy", "lora", *options) == 0
        strategy = tomllib.loads((out / "recipe.toml").read_text())["strategy"]
        assert strategy.get("lora_plus_ratio") == (16 if options else None)
        files.append((out / "adapter" / "adapter_model.safetensors").read_bytes())
    assert files[0] != files[1]


def test_the_adapters_kind_is_chosen_by_options_and_stands_in_its_file(tiny: Path, reviews: Path, tmp_path: Path):
    options = ("--dora", "--rslora", "--bias", "lora_only", "--modules-to-save", "pooler", "--target-modules", "query")
    assert train(tiny, reviews, tmp_path / "out", "--strategy", "lora", *options) == 0
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["use_rslora"], config["bias"]) == (True, True, "lora_only")
    assert set(config["modules_to_save"]) == {"classifier", "bert.pooler"}
    with safe_open(tmp_path / "out" / "adapter" / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    kinds = {name.rpartition("query.")[2] for name in names if ".layer.0." in name}
    assert kinds == {"lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "base_layer.bias"}
    assert main(["predict", str(tmp_path / "out"), "A film to remember."]) == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--max-length", "5000"], "max_length 5000: expected 1 to "),
        (["--rank", "4"], "--rank: only of use with --strategy lora"),
        (["--dora", "--bias", "all"], "--bias and --dora: only of use with --strategy lora"),
        (["--strategy", "lora", "--modules-to-save", "puler"], "no module of this bert model is called 'puler'"),
        (["--target-modules", "query"], "--target-modules: only of use with --strategy lora"),
        (["--lora-plus-ratio", "16"], "--lora-plus-ratio: only of use with --strategy lora"),
        (["--strategy", "lora", "--lora-plus-ratio", "0.5"], "lora_plus_ratio must be at least 1, got 0.5"),
        (["--strategy", "lora", "--target-modules", "query", ".*value"], "is called '.*value'"),
        (["--strategy", "lora", "--target-modules", ".*valve"], "'.*valve', a regular expression, matches no"),
        (["--weight-decay", "-1"], "weight_decay must be at least 0"),
    ],
)
def test_options_that_would_do_nothing_or_harm_are_refused(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
):
    assert train(tiny, reviews, tmp_path / "out", *options) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "complaint"),
    [
        ("gpu", "device must be one of cpu, cuda, mps, got 'gpu'"),
        pytest.param(
            "cuda",
            "device 'cuda': torch sees 0 GPUs here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here"),
        ),
    ],
)
def test_a_device_that_is_not_there_is_one_line(
    tiny: Path, reviews: Path, tmp_path: Path, device: str, complaint: str, capsys: pytest.CaptureFixture[str]
):
    assert train(tiny, reviews, tmp_path / "out", "--device", device) == 1
    assert re.fullmatch(f"minitl: .*{complaint}\n", capsys.readouterr().err)


def test_bytes_that_are_no_text_are_one_line(tiny: Path, reviews: Path, tmp_path: Path):
    assert train(tiny, reviews, tmp_path / "out") == 0
    ran = subprocess.run(
        [sys.executable, "-m", "minitl", "predict", str(tmp_path / "out")],
        input=b"caf\xe9\n",
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert ran.returncode == 1
    assert b"standard input: not readable as UTF-8" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_single_file_is_evaluated_whole(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(tiny, reviews, tmp_path / "out") == 0
    capsys.readouterr()
    scores = []
    for data in (reviews, reviews / "test.csv"):
        assert main(["evaluate", str(tmp_path / "out"), "--data", str(data)]) == 0
        scores.append(capsys.readouterr().out.split(", ", 1)[1])
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_says_how_to_go_on_and_ends_as_an_unbroken_one(
    tiny: Path, reviews: Path, tmp_path: Path, signum: int, code: int
):
    def command(out: Path) -> list[str]:
        words = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "40", "--batch-size", "4"]
        return [sys.executable, "-m", "minitl", *words]

    process = subprocess.Popen(command(tmp_path / "broken"), stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    log = tmp_path / "broken" / "log.jsonl"
    while not (log.exists() and log.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signum)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    again = shlex.split(message.partition("go on from there with: ")[2])
    assert again[1:] == command(tmp_path / "broken")[1:]  # whatever Python is called
    assert "Traceback" not in message
    for out in (tmp_path / "broken", tmp_path / "unbroken"):
        subprocess.run(command(out), check=True, env=ONE_THREAD)
    name = "model/model.safetensors"
    assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_epoch(tiny: Path, reviews: Path, tmp_path: Path):
    def command(out: Path) -> list[str]:
        words = ["train", str(tiny), "--data", str(reviews), "--out", str(out), "--epochs", "40", "--batch-size", "4"]
        return [sys.executable, "-m", "minitl", *words]

    process = subprocess.Popen(command(tmp_path / "killed"), env=ONE_THREAD)
    while not (tmp_path / "killed" / "states").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    for out in (tmp_path / "killed", tmp_path / "unbroken"):
        subprocess.run(command(out), check=True, env=ONE_THREAD)
    name = "model/model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_range_test_trains_nothing_and_says_what_it_found(
    tiny: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    assert train(tiny, reviews, out, "--max-lr-find", "--seed", "1") == 0
    header, *rows, said, _ = capsys.readouterr().out.splitlines()
    assert header == "rate      loss"
    assert len(rows) > 10
    assert re.fullmatch(r"the loss falls fastest at \d\.\de-\d\d: a peak to try; it is lowest at .*, too high", said)
    assert (out / "learning_rates.csv").read_text().startswith("learning_rate,loss,smoothed\n")
    assert not (out / "model").exists()

    monkeypatch.setattr(RangeTest, "falls", False)
    assert train(tiny, reviews, out, "--max-lr-find") == 0
    assert "there is none to recommend" in capsys.readouterr().out

    shown, row = [0], rates._row

    def stopping(found: RangeTest) -> str:
        shown[0] += 1
        if shown[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return row(found)

    monkeypatch.setattr(rates, "_row", stopping)
    assert train(tiny, reviews, tmp_path / "stopped", "--max-lr-find") == 130
    assert "stopped after 11 steps, which are in" in capsys.readouterr().err
    assert len((tmp_path / "stopped" / "learning_rates.csv").read_text().splitlines()) == 12


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_announces(rank: int, caplog: pytest.LogCaptureFixture):
    with _first_speaks(SimpleNamespace(rank=rank)):  # type: ignore[arg-type]
        logging.getLogger("minitl").warning("a new head")
    assert caplog.messages == ["a new head"][rank:]


def test_a_card_lies_beside_the_result(tiny: Path, reviews: Path, tmp_path: Path):
    assert train(tiny, reviews, tmp_path / "out") == 0
    assert "# classification on" in (tmp_path / "out" / "model" / "README.md").read_text()
