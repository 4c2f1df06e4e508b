"""A small labelled data set as files, as a user would have it."""

import csv
import random
from pathlib import Path

import pytest


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A folder with train.csv, validation.csv and test.csv; a text is positive if it holds "good"."""
    rng, rest = (
        random.Random(0),
        ["film", "book", "food", "hotel", "was", "the", "a", "very", "and", "really", "day", "we", "it"],
    )
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, count in (("train", 40), ("validation", 16), ("test", 20)):
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for i in range(count):
                words = rng.choices(rest, k=rng.randint(2, 9))
                words.insert(rng.randrange(len(words)), ["bad", "good"][i % 2])
                writer.writerow([" ".join(words), ["negative", "positive"][i % 2]])
    return folder
