"""The task: what it collates, its loss, its scores."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl import load_tokenizer
from minitl.data import Example
from minitl.errors import DataError
from minitl.nn.output import Output
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import NO_TARGET


@pytest.fixture(scope="module")
def task(tiny: Path) -> SequenceClassification:
    return SequenceClassification(load_tokenizer(tiny), ["negative", "positive"], max_length=8)


def output(logits: torch.Tensor) -> Output:
    return Output(torch.zeros(len(logits), 1, 1), logits=logits)


def test_a_batch_holds_padded_texts_cut_to_the_maximum_and_their_labels(task: SequenceClassification):
    items = task.encode([Example("good film", label=1), Example("bad " * 20, label=0), Example("we")])
    assert [item.length for item in items] == [4, 8, 3]
    inputs, targets = task.collate(items)
    assert inputs["input_ids"].shape == (3, 8)
    assert inputs["attention_mask"].sum(-1).tolist() == [4, 8, 3]
    assert targets["labels"].tolist() == [1, 0, NO_TARGET]


def test_pairs_are_told_apart_by_their_types(task: SequenceClassification):
    inputs, _ = task.collate(task.encode([Example("good", pair="bad film", label=1)]))
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]


def test_the_loss_is_the_sum_of_the_negative_log_likelihoods(task: SequenceClassification):
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    loss, count = task.loss(output(logits), {"labels": labels})
    by_hand = -torch.stack(
        [torch.log(torch.exp(row) / torch.exp(row).sum())[y] for row, y in zip(logits, labels, strict=True)]
    ).sum()
    torch.testing.assert_close(loss, by_hand)
    assert count == 5


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_accuracy_and_f1_by_their_definitions(task: SequenceClassification, pairs: list[tuple[int, int]]):
    predicted, labels = map(torch.tensor, zip(*pairs, strict=True))
    examples = [Example("", label=label) for label in labels.tolist()]
    scores = task.score(torch.nn.functional.one_hot(predicted, 2).float(), examples)
    hits = int(((predicted == 1) & (labels == 1)).sum())
    wrong = int((predicted != labels).sum())
    assert scores["accuracy"] == pytest.approx(1 - wrong / len(pairs))
    assert scores["f1"] == pytest.approx(2 * hits / (2 * hits + wrong) if hits else 0.0)


def test_f1_of_several_classes_is_their_mean(tiny: Path):
    task = SequenceClassification(load_tokenizer(tiny), ["a", "b", "c"])
    examples = [Example("", label=label) for label in (0, 1, 2, 2)]
    assert task.score(torch.eye(3)[[0, 1, 1, 2]], examples)["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize("label", [2, -1, None, 0.5, "positive"])
def test_a_label_that_is_no_class_is_refused_by_split_place_and_value(task: SequenceClassification, label: object):
    with pytest.raises(DataError, match=rf"training example 1: label {label!r} is not one of 0 to 1 \(negative, posit"):
        task.check([Example("good", label=1), Example("bad", label=label)], "training")  # type: ignore[arg-type]
