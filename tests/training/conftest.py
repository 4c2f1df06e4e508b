"""A small task that a tiny model can learn: whether a text holds "good" or "bad"."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minitl import load_model, load_tokenizer
from minitl.data import Example
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification


@pytest.fixture
def examples() -> list[Example]:
    rng, rest = (
        random.Random(0),
        ["film", "book", "food", "hotel", "was", "the", "a", "very", "and", "really", "day", "we", "it"],
    )
    made = []
    for i in range(44):
        words = rng.choices(rest, k=rng.randint(2, 9))
        words.insert(rng.randrange(len(words)), ["bad", "good"][i % 2])
        made.append(Example(" ".join(words), label=i % 2))
    return made


@pytest.fixture
def task(tiny: Path) -> SequenceClassification:
    return SequenceClassification(load_tokenizer(tiny), ["negative", "positive"], max_length=16)


@pytest.fixture
def classifier(tiny: Path) -> Callable[[], Model]:
    """Makes the same fresh classifier each time it is called."""

    def make() -> Model:
        torch.manual_seed(1)
        return load_model(tiny, "sequence-classification", labels=["negative", "positive"])

    return make
