"""`minitl train`, `evaluate`, `predict` and `merge` on translators and summarisers, from random weights on."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from minitl.cli.main import main

NUMBERS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four"}
CONFIG = {
    "model_type": "bart", "vocab_size": 300, "d_model": 32, "max_position_embeddings": 24, "dropout": 0.0,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    dice, folder = random.Random(0), tmp_path / "corpus"
    folder.mkdir()
    for split, count in (("train", 160), ("dev", 12), ("test", 12)):
        lines = [dice.choices(list(NUMBERS), k=2) for _ in range(count)]
        (folder / f"{split}.de").write_text("".join(" ".join(line) + "\n" for line in lines))
        (folder / f"{split}.en").write_text("".join(" ".join(NUMBERS[w] for w in line) + "\n" for line in lines))
    return folder


def recipe(folder: Path, task: str, **tables: dict[str, Any]) -> Path:
    lines = [f"out = {json.dumps(str(folder / 'out'))}", f"task = {json.dumps(task)}"]
    parts: dict[str, dict[str, Any]] = {
        "options": {"max_new_tokens": 10, "generated": 4},
        "training": {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3},
    }
    for name, table in (parts | tables).items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = folder / "task.toml"
    path.write_text("\n".join(lines))
    return path


def translating(folder: Path, corpus: Path, **tables: dict[str, Any]) -> Path:
    data = {"source": str(corpus), "text": "de", "pair": "en"}
    return recipe(folder, "translation", **({"model.config": CONFIG, "data": data} | tables))


def test_translating(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["train", str(translating(tmp_path, corpus))]) == 0
    facts = json.loads((out / "training.json").read_text())
    assert facts["validation"].keys() == facts["test"].keys() == {"loss", "bleu", "chrf"}
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(corpus), "--text", "de", "--pair", "en"]) == 0
    assert f"12 examples: loss {facts['test']['loss']:.4f}, bleu" in capsys.readouterr().out
    assert main(["generate", str(out / "model"), "zwei drei", "--max-new-tokens", "10"]) == 0
    written = capsys.readouterr().out
    assert main(["generate", str(out), "zwei drei"]) == 0  # so much was to be written in the training, too
    assert capsys.readouterr().out == written
    assert main(["predict", str(out), "zwei drei"]) == 0
    assert capsys.readouterr().out.strip() == written.strip()
    assert main(["predict", str(out), "--json", "zwei drei"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "zwei drei", "written": written.strip()}


@pytest.mark.slow
def test_a_translator_learns_and_an_adapter_turns_it_round(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, turned, merged = (tmp_path / name for name in ("out", "turned", "merged"))
    assert main(["train", str(translating(tmp_path, corpus)), "--epochs", "12"]) == 0
    assert json.loads((out / "training.json").read_text())["test"]["chrf"] > 90
    capsys.readouterr()
    assert main(["predict", str(out), "zwei drei", "vier eins"]) == 0
    assert capsys.readouterr().out == "two three\nfour one\n"

    back = {"source": str(corpus), "text": "en", "pair": "de"}
    path = recipe(tmp_path, "translation", model={"source": str(out / "model")}, data=back, strategy={"name": "lora"})
    assert main(["train", str(path), "--epochs", "8", "--out", str(turned)]) == 0
    assert json.loads((turned / "training.json").read_text())["test"]["chrf"] > 60
    capsys.readouterr()
    assert main(["predict", str(turned), "two three"]) == 0
    written = capsys.readouterr().out
    assert set(written.split()) <= set(NUMBERS)
    assert main(["merge", str(turned), str(merged)]) == 0
    capsys.readouterr()
    assert main(["generate", str(merged), "two three", "--max-new-tokens", "10"]) == 0
    assert capsys.readouterr().out.strip() == written.strip()
    assert main(["predict", str(merged), "two three"]) == 1
    assert "does not say whether it translates or summarises" in capsys.readouterr().err


def test_summarising(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "texts.jsonl"
    rows = [{"id": i, "long": f"{a} {b} {a}", "short": a} for i, a in enumerate(NUMBERS) for b in NUMBERS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = recipe(
        tmp_path,
        "summarisation",
        data={"source": str(data), "text": "long", "pair": "short"},
        **{"model.config": CONFIG},
    )
    assert main(["train", str(path)]) == 0
    out = tmp_path / "out"
    assert json.loads((out / "training.json").read_text())["test"].keys() == {"loss", "rouge1", "rouge2", "rougeL"}
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(data), "--text", "long", "--pair", "short"]) == 0
    assert "texts.jsonl, 16 examples: loss" in capsys.readouterr().out  # a file is measured as a whole
    assert main(["evaluate", str(out), "--data", str(data)]) == 0  # with the columns of the recipe
    assert main(["evaluate", str(out), "--data", str(data), "--text", "id", "--pair", "longer"]) == 1
    assert "longer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("options.num_beams=0", "num_beams must be at least 1, got 0"),
        ("options.max_new_tokens=24", "max_new_tokens 24: expected 1 to 23"),
        ("options.max_length=25", "max_length 25: expected 1 to 24"),
        ("options.smooth=0.1", "options: unknown key 'smooth', did you mean 'smoothing'?"),
        ("options.target_language=en", "has no languages"),
        ("data.pair=fr", "train.fr: no such file"),
        ("task=translating", "did you mean 'translation'?"),
    ],
)
def test_a_mistake_is_named(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, complaint: str
) -> None:
    assert main(["train", str(translating(tmp_path, corpus)), "--set", change]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
