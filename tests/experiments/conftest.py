"""What experiments with a masked language model begin with."""

from pathlib import Path

import pytest
import torch

from minitl import load_model, load_tokenizer, new_model, save_model


@pytest.fixture
def masked(tiny: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint's shape with a head of masked LM, in the place of the project's own BERT."""
    torch.manual_seed(3)
    save_model(new_model(load_model(tiny, "backbone").config, "masked-lm"), tmp_path / "masked", load_tokenizer(tiny))
    return tmp_path / "masked"


@pytest.fixture
def novels(tmp_path: Path) -> Path:
    """Six documents of two paragraphs."""
    documents = [
        f"the {a} film was very good\nand we really {b} it" for a in ("bad", "fine") for b in ("a", "not", "day")
    ]
    (tmp_path / "novels.txt").write_text("\n\n".join(documents) + "\n")
    return tmp_path / "novels.txt"
