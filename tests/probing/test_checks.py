"""What is no task is refused with one clear sentence."""

from dataclasses import replace

import pytest
import torch

from minitl.errors import DataError, InputError
from minitl.probing.checks import answerable, check_corpus, check_task, texts_of
from minitl.probing.representations import Unread
from minitl.probing.task import Task
from tests.probing.made import corpus_of, representations_of, word_task

LENGTHS = [3, 4, 3]


def task_with(split="train", **changes):
    task = word_task(corpus_of(LENGTHS), torch.tensor([0, 1] * 5))
    examples = replace(task.splits[split], **changes)
    return replace(task, splits={**task.splits, split: examples})


def test_a_proper_task_passes():
    check_task(task_with())


@pytest.mark.parametrize(
    ("split", "changes", "message"),
    [
        ("test", {"labels": torch.tensor([0, 2])}, r"test split, example 1: label 2, where there are 2 labels"),
        ("test", {"labels": torch.tensor([-1, 0])}, r"test split, example 0: label -1"),
        ("test", {"labels": torch.tensor([0.0, 1.0])}, r"labels must be integers, got torch.float32"),
        ("validation", {"spans": torch.tensor([[[6, 7]], [[9, 11]]])}, r"1: place \[\[9, 11\]\] is not within the 10"),
        ("validation", {"spans": torch.tensor([[[-1, 1]], [[9, 10]]])}, r"example 0: place \[\[-1, 1\]\]"),
        ("validation", {"spans": torch.tensor([[[4, 4]], [[9, 10]]])}, r"example 0: place \[\[4, 4\]\]"),
        ("validation", {"spans": torch.tensor([[[4, 5]], [[2, 4]]])}, r"example 1: .* goes across two texts"),
        ("validation", {"spans": torch.tensor([[4, 5], [2, 3]])}, r"spans must be \[2, 1 or 2, 2\], got \[2, 2\]"),
        ("validation", {"kinds": torch.zeros(3, dtype=torch.long)}, r"kinds must be integers \[2\]"),
        ("train", {"labels": torch.ones(6, dtype=torch.long)}, r"one class alone, 'b': nothing to tell apart"),
    ],
)  # fmt: skip
def test_a_broken_split_is_named(split, changes, message):
    with pytest.raises(DataError, match=rf"^task 'made'.*{message}"):
        check_task(task_with(split, **changes))


def test_an_absent_or_empty_split_is_named():
    task = task_with()
    for splits in (
        {s: e for s, e in task.splits.items() if s != "validation"},
        {
            **task.splits,
            "validation": replace(task.splits["validation"], spans=torch.zeros(0, 1, 2), labels=torch.zeros(0)),
        },
    ):
        with pytest.raises(DataError, match="task 'made', validation split: it has no examples"):
            check_task(replace(task, splits=splits))


def test_scores_must_be_numbers_and_vary():
    scores = torch.linspace(0, 1, 10)
    task = word_task(corpus_of(LENGTHS), scores, names=None)
    check_task(task)
    with pytest.raises(DataError, match="test split: scores must be finite"):
        check_task(word_task(corpus_of(LENGTHS), torch.where(scores == 1, torch.nan, scores), names=None))
    with pytest.raises(DataError, match=r"all scores of its training split are 0.5"):
        check_task(word_task(corpus_of(LENGTHS), torch.full((10,), 0.5), names=None))


def test_representations_of_other_texts_are_refused():
    task = task_with()
    check_corpus(representations_of(torch.randn(1, 10, 2), LENGTHS), task.corpus, task.name)  # equal, if not the same
    with pytest.raises(InputError, match="task 'made' is about made, and the representations are of made: other texts"):
        check_corpus(representations_of(torch.randn(1, 10, 2), [5, 5]), task.corpus, task.name)


def test_examples_in_unread_texts_are_left_out_and_counted():
    task = task_with()
    representations = representations_of(torch.randn(1, 10, 2), LENGTHS, unread=[Unread(0, "too long")])
    kept, left_out = answerable(representations, task)
    assert left_out == {"train": 3, "validation": 0, "test": 0}
    assert kept["train"].spans[:, 0, 0].tolist() == [3, 4, 5]
    assert kept["train"].labels.tolist() == [1, 0, 1]
    nothing = representations_of(torch.randn(1, 10, 2), LENGTHS, unread=[Unread(2, "too long")])
    with pytest.raises(DataError, match="test split: none of its texts could be read"):
        answerable(nothing, task)


def test_a_place_knows_its_text():
    task = task_with()
    spans = torch.tensor([[[0, 3]], [[3, 4]], [[6, 7]], [[9, 10]]])
    assert texts_of(task, spans)[:, 0].tolist() == [0, 1, 1, 2]
    of_texts = Task("t", "", "task", task.corpus, "texts", ("a", "b"), task.splits)
    assert texts_of(of_texts, torch.tensor([[[2, 3]]])).tolist() == [[2]]
