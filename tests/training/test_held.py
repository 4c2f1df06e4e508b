"""Layers that a strategy holds: they stay as they are, the others learn."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from minitl import LoraConfig, fit
from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import FROZEN, FULL, GRADUAL, Settings, Strategy

QUICK = Settings(epochs=1, batch_size=16, learning_rate=3e-3)
Make = Callable[[], Model]


def parts(names: set[str]) -> set[str]:
    """embeddings, layers.0, …, pooler, head"""
    return {".".join(name.split(".")[: 2 if name.startswith("layers.") else 1]) for name in names}


@pytest.mark.parametrize(
    ("held", "stay"),
    [((0,), {"embeddings", "layers.0"}), ((1, 2), {"layers.1", "layers.2"}), ((0, 1, 2), {"embeddings"})],
)
def test_they_stay_as_they_were_and_all_others_learn(
    classifier: Make, task: SequenceClassification, examples: list[Example], held: tuple[int, ...], stay: set[str]
) -> None:
    stay = stay | {f"layers.{at}" for at in held}
    model = classifier()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, examples, task=task, settings=QUICK, strategy=replace(FULL, held=held))
    changed = parts({name for name, p in model.named_parameters() if not torch.equal(p, before[name])})
    assert changed == {"embeddings", "layers.0", "layers.1", "layers.2", "pooler", "head"} - stay


def test_they_are_passed_by_where_the_others_open_one_by_one(classifier: Make) -> None:
    model, strategy = classifier(), replace(GRADUAL, held=(2,))
    strategy.prepare(model)
    learning = []
    for moment in (0.0, 0.2, 0.9):
        strategy.open(model, moment)
        learning.append(parts({name for name, p in model.named_parameters() if p.requires_grad}))
    assert learning[0] == {"head"}
    assert learning[1] == {"head", "pooler"}
    assert learning[2] == {"head", "pooler", "layers.1", "layers.0", "embeddings"}


@pytest.mark.parametrize("held", [(-1,), (1, 0), (1, 1)])
def test_they_are_numbers_in_rising_order(held: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="held are numbers of layers from 0 on, in rising order"):
        Strategy("odd", held=held)


def test_where_no_others_learn_there_are_none_to_hold() -> None:
    for strategy in (FROZEN, Strategy("lora", lora=LoraConfig())):
        with pytest.raises(InputError, match="held layers are those of a backbone of which others learn"):
            replace(strategy, held=(0,))


def test_a_layer_that_is_not_there_is_named(classifier: Make) -> None:
    with pytest.raises(InputError, match="held names layer 3; the last is 2"):
        replace(FULL, held=(3,)).prepare(classifier())
