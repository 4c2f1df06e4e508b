"""The page beside a result: what it says, and front matter that the hub can read."""

from pathlib import Path
from typing import Any

import pytest

from minitl.training.card import write_card

FACTS: dict[str, Any] = {
    "base": "google-bert/bert-base-uncased",
    "task": "classification",
    "strategy": "lora",
    "labels": ["negative", "positive"],
    "best_epoch": 1.5,
    "validation": {"loss": 0.5, "accuracy": 0.75},
    "test": {"accuracy": 0.7},
    "seconds": 12.3,
    "peak_memory_bytes": 3 * 2**29,
    "weights": "float32",
    "recipe": {
        "training": {
            "epochs": 3,
            "optimizer": "adamw",
            "learning_rate": 5e-4,
            "schedule": "linear",
            "batch_size": 32,
            "accumulation": 2,
            "seed": 1,
            "autocast": "bfloat16",
        }
    },
}


def front_matter(page: str) -> dict[str, str]:
    _, head, _ = page.split("---\n", 2)
    return dict(line.split(": ", 1) for line in head.splitlines())


def test_what_it_says(tmp_path: Path) -> None:
    write_card(tmp_path, FACTS, "sst2", {"train": 2000, "validation": 100, "test": 0})
    page = (tmp_path / "README.md").read_text()
    assert front_matter(page) == {
        "library_name": "minitl",
        "tags": "[minitl, classification, lora]",
        "pipeline_tag": "text-classification",
        "base_model": "google-bert/bert-base-uncased",
        "datasets": "[sst2]",
    }
    for line in (
        "| data | sst2: train 2,000, validation 100 examples |",
        "| kept | the weights after 1.5 epochs, of 3 epochs |",
        "| batch | 32 × 2, seed 1 |",
        "| time | 12 s, 1.5 GiB at the peak |",
        "| labels | negative, positive |",
        "| split | loss | accuracy |",
        "| validation | 0.5000 | 0.7500 |",
        "| test |  | 0.7000 |",
    ):
        assert line in page.splitlines()


def test_a_stream_has_no_size_and_steps_no_epochs(tmp_path: Path) -> None:
    recipe = {**FACTS["recipe"], "training": {**FACTS["recipe"]["training"], "steps": 5000}}
    write_card(tmp_path, {**FACTS, "recipe": recipe}, "sst2", {"train": None, "validation": 100, "test": 0})
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert "| data | sst2: train streamed, validation 100 examples |" in lines
    assert "| kept | the weights after 1.5 epochs, of 5,000 steps |" in lines


@pytest.mark.parametrize("base", [None, "."])
def test_folders_and_random_weights_are_no_names_of_the_hub(tmp_path: Path, base: str | None) -> None:
    write_card(tmp_path, {**FACTS, "base": base, "labels": None}, ".", {"train": 1})
    page = (tmp_path / "README.md").read_text()
    assert not {"base_model", "datasets"} & front_matter(page).keys()
    assert f"from {base or 'random weights'}." in page
    assert "| labels" not in page
