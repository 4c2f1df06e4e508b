"""`minitl train` and `predict` on encoder-decoders."""

import json
from pathlib import Path

import pytest
import torch

from minitl import load_tokenizer, new_model, save_model
from minitl.cli.main import main
from tests.conftest import WORDS
from tests.training.test_encoder_decoders import CONFIGS

FAST = ["--epochs", "24", "--batch-size", "8", "--learning-rate", "3e-3", "--max-length", "16"]


def checkpoint(family: str, folder: Path) -> Path:
    """A tiny random backbone and a tokenizer that closes each text with its end token."""
    files = folder / "vocabulary"
    files.mkdir()
    (files / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    (files / "tokenizer_config.json").write_text('{"tokenizer_class": "DistilBertTokenizer"}')
    torch.manual_seed(0)
    save_model(new_model(CONFIGS[family]), folder / "base", load_tokenizer(files))
    return folder / "base"


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("strategy", ["full", pytest.param("gradual", marks=pytest.mark.slow)])
def test_what_is_trained_predicts(
    family: str, strategy: str, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = checkpoint(family, tmp_path), tmp_path / "out"
    train = ["train", str(base), "--data", str(reviews), "--out", str(out), "--strategy", strategy]
    assert main([*train, *FAST]) == 0
    facts = json.loads((out / "training.json").read_text())
    assert facts["test"]["accuracy"] > 0.85
    capsys.readouterr()
    assert main(["predict", str(out), "really good food", "a very bad hotel"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["positive", "negative"]
