"""Tuning by preferences, as a user types it: trained, measured, asked, resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model, save_model
from minitl.cli.main import main
from minitl.tokenization.learning import learn_tokenizer

SHAPE = {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 48, "initializer_range": 0.2}
SUBJECTS = ["film", "book", "food", "hotel", "day", "way", "man", "sea", "sun", "song"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random GPT-2 with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = learn_tokenizer([f"the {s} was good bad" for s in SUBJECTS], "gpt2", 280)
    torch.manual_seed(0)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    save_model(new_model({**SHAPE, **ids, "vocab_size": tokenizer.vocab_size}, "causal-lm"), folder, tokenizer)
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"the {s}", "chosen": f" was {w} good", "rejected": f" was {w} bad"} for s in SUBJECTS for w in "ab"
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def recipe(folder: Path, task: str, model: Path, data: Path, **options: Any) -> Path:
    lines = [f"out = {json.dumps(str(folder / 'out'))}", f"task = {json.dumps(task)}"]
    training = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "eval_batch_size": 4}
    tables = {"model": {"source": str(model)}, "data": {"source": str(data)}, "training": training, "options": options}
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = folder / "task.toml"
    path.write_text("\n".join(lines))
    return path


def trained(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    assert main(["train", *arguments]) == 0
    facts: dict[str, Any] = json.loads((tmp_path / "out" / "training.json").read_text())
    return facts


def test_a_reward_model(tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = trained(tmp_path, str(recipe(tmp_path, "reward", tiny, pairs)))
    assert facts["test"]["accuracy"] == 1.0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "the day was good", "the day was bad"]) == 0
    good, bad = (float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines())
    assert good > bad
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(pairs)]) == 0
    assert "20 examples: loss" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_dpo(writer: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str) -> None:
    path = recipe(tmp_path, "dpo", writer, pairs)
    facts = trained(tmp_path, str(path), "--strategy", strategy)
    test = facts["test"]
    assert test["accuracy"] == 1.0
    assert test["margin"] > 0.1
    assert test["loss"] < 0.69
    capsys.readouterr()
    # the saved run is measured against the same reference: what the training began with
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(pairs)]) == 0
    said = capsys.readouterr().out
    whole = dict(part.split(" ") for part in said.split(": ")[1].strip().split(", "))
    assert float(whole["margin"]) == pytest.approx(test["margin"], rel=0.5)
    assert main(["predict", str(tmp_path / "out"), "a text"]) == 1
    assert "is a dpo model: `minitl generate` lets it write" in capsys.readouterr().err
    # by itself, and as the checkpoint that is in it or that is made of it
    folder = tmp_path / "out" / "model"
    if strategy == "lora":
        folder = tmp_path / "merged"
        assert main(["merge", str(tmp_path / "out"), str(folder)]) == 0
        capsys.readouterr()
    told = []
    for source in (tmp_path / "out", folder, writer):
        assert main(["generate", str(source), "the film", "--max-new-tokens", "5"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]


def test_what_was_taught_by_a_template_is_asked_by_it(
    writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "told.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"the {s}", "completion": " was good"}) for s in SUBJECTS))
    path = recipe(tmp_path, "instruction", writer, data, template="good {prompt} bad", max_length=24)
    trained(tmp_path, str(path))
    told = []
    for source, prompt in ((tmp_path / "out", "the film"), (tmp_path / "out" / "model", "good the film bad")):
        capsys.readouterr()
        assert main(["generate", str(source), prompt, "--max-new-tokens", "3"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("good the film bad")


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_grpo(
    tiny: Path, writer: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    judge = tmp_path / "judge"
    torch.manual_seed(3)
    save_model(load_model(tiny, "sequence-classification", labels=["no", "yes"]), judge, load_tokenizer(tiny))
    options = {"reward": str(judge), "label": "yes", "max_length": 24, "max_new_tokens": 6, "group": 4}
    path = recipe(tmp_path, "grpo", writer, pairs, **options)
    facts = trained(tmp_path, str(path), "--strategy", strategy, "--epochs", "2")
    assert set(facts["test"]) == {"loss", "reward", "kl"}
    assert facts["test"]["kl"] > 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(pairs)]) == 0
    said = capsys.readouterr().out
    assert "10 examples: loss" in said
    assert float(said.split("kl ")[1]) > 0.01


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("dpo", ["options.beta=0"], "beta must be above 0"),
        ("dpo", ["options.beta=x"], "options.beta must be a finite number"),
        ("dpo", ["data.chosen=best"], "column 'best' holds no text"),
        ("dpo", ["options.max_length=99"], "expected 1 to 48"),
        ("grpo", [], "options.reward is missing"),
        ("grpo", ["options.reward=nowhere"], "max_new_tokens must be below max_length, 48"),
        ("grpo", ["options.reward=nowhere", "options.max_new_tokens=8"], "nowhere"),
        ("reward", ["options.template=none"], "slot {prompt} once"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    writer: Path,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    changes: list[str],
    says: str,
) -> None:
    path = recipe(tmp_path, task, writer, pairs)
    assert main(["train", str(path), *(word for change in changes for word in ("--set", change))]) == 1
    assert says in capsys.readouterr().err


def test_there_must_be_a_model_to_tune(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.toml"
    shape = "n_positions = 48, n_embd = 8, n_layer = 1, n_head = 1"
    path.write_text(
        f'out = "{tmp_path}/out"\ntask = "dpo"\n[data]\nsource = "{pairs}"\n'
        f'[model]\nconfig = {{ model_type = "gpt2", vocab_size = 300, {shape} }}\n'
    )
    assert main(["train", str(path)]) == 1
    assert "dpo tunes a model that writes already: model.source" in capsys.readouterr().err
