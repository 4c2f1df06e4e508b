"""The reward model: Bradley and Terry's loss, and the order that it learns."""

import logging
import math
from pathlib import Path

import pytest
import torch

from minitl import fit, load_model, load_tokenizer
from minitl.data import Preference
from minitl.errors import DataError, InputError
from minitl.nn.output import Output
from minitl.tasks.reward import RewardModel, margin, preferred
from minitl.training import FROZEN, FULL, Settings, Strategy, evaluate

PAIRS = [
    Preference(f"the {a} was", f" {b} good", f" {b} bad")
    for a in ("film", "book", "food", "hotel")
    for b in ("very", "really", "not", "a")
]


@pytest.fixture
def task(tiny: Path) -> RewardModel:
    return RewardModel(load_tokenizer(tiny), max_length=16)


def scored(*scores: float) -> Output:
    logits = torch.tensor(scores)[:, None].requires_grad_()
    return Output(logits, logits=logits)


def test_the_loss_by_hand(task: RewardModel) -> None:
    output = scored(1.0, 0.0, -0.5, 2.0)  # two chosen, two rejected
    loss, count = task.loss(output, {})
    assert count == 2
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(2.0)))
    assert task.answers(output, task.collate(task.encode(PAIRS[:2]))) == [(1.0, -0.5), (0.0, 2.0)]
    assert output.logits is not None
    (gradient,) = torch.autograd.grad(loss, output.logits)
    assert gradient[:2].max() < 0 < gradient[2:].min()  # up with the chosen, down with the rejected
    assert float(gradient.sum()) == pytest.approx(0, abs=1e-6)  # only differences count


def test_a_tie_is_half_a_hit() -> None:
    assert preferred([(1.0, 0.0), (0.0, 1.0), (2.0, 2.0)]) == 0.5
    assert margin([(1.0, 0.0), (0.0, 3.0)]) == -1.0


@pytest.mark.parametrize("strategy", [FULL, FROZEN], ids=lambda s: s.name)
def test_it_learns_the_order(tiny: Path, task: RewardModel, strategy: Strategy) -> None:
    model = load_model(tiny, "sequence-classification", num_labels=1)
    assert evaluate(model, PAIRS, task=task)["loss"] == pytest.approx(math.log(2), abs=0.1)
    rate = 5e-3 if strategy is FULL else 1.0
    fit(model, PAIRS, task=task, settings=Settings(epochs=4, batch_size=4, learning_rate=rate), strategy=strategy)
    after = evaluate(model, PAIRS, task=task)
    assert after["accuracy"] == 1.0
    assert after["margin"] > 1e-4


def test_padding_changes_nothing(tiny: Path, task: RewardModel) -> None:
    model = load_model(tiny, "sequence-classification", num_labels=1)
    items = task.encode([*PAIRS[:2], Preference("we", " really really really really", " was not")])
    losses = []
    for batch in (task.collate(items), *(task.collate([item]) for item in items)):
        losses.append(task.loss(model(**batch.inputs), batch.targets)[0])
    torch.testing.assert_close(losses[0], torch.stack(losses[1:]).sum())


def test_pairs_that_are_the_same_when_cut_are_counted(
    task: RewardModel, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "minitl"):
        task.encode(PAIRS)
        assert not caplog.records
        short = RewardModel(load_tokenizer(tiny), max_length=7)  # five words
        short.encode(
            [PAIRS[0], Preference("the film was very really", " good", " bad"), Preference("a a a a a", "b", "c")]
        )
    (record,) = caplog.records
    assert record.getMessage().startswith("2 of 3 pairs are the same in their first 7 tokens (max_length)")


def test_the_template_says_what_is_read_of_a_prompt(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    task = RewardModel(tokenizer, template="the {prompt} was {")
    (item,) = task.encode([Preference("film", " good", " bad")])
    assert tokenizer.decode(item.chosen.ids.tolist()) == "[CLS] the film was [UNK] good [SEP]"
    with pytest.raises(InputError, match="once"):
        RewardModel(tokenizer, template="{prompt} {prompt}")


def test_what_cannot_be_learnt_from_is_refused(task: RewardModel) -> None:
    with pytest.raises(DataError, match="test example 1: both completions are the same"):
        task.check([PAIRS[0], Preference("a", "b", "b")], "test")
