"""Length and content of sentences."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import DataError
from minitl.probing.task import Task
from minitl.probing.tasks import probing_tasks, surface
from minitl.probing.tasks.surface import bare, bounds
from tests.probing.tasks.made import asked, write_flat


def test_lengths_of_the_treebank(treebank: Path) -> None:
    (task,) = probing_tasks(["length"], treebank)
    assert isinstance(task, Task)
    assert (task.kind, task.reads, task.splits["train"].kinds) == ("form", "texts", None)
    assert task.labels == ("below 5", "5", "6 and more")
    assert asked(task, "train") == [
        ("A man Opened it slowly .", "6 and more"),
        ("Ann and Bo opened boxes .", "6 and more"),
        ("She opens every door .", "5"),
        ("The keys opened doors .", "5"),
        ("They were opened .", "below 5"),
    ]
    assert asked(task, "test") == [("Cats sat down here !", "5"), ("Tom sat up", "below 5")]


@given(st.lists(st.integers(3, 60), min_size=1, max_size=60), st.integers(2, 6))
def test_each_class_has_values_and_no_more_than_its_share_but_for_ties(values: list[int], classes: int) -> None:
    starts = bounds(values, classes)
    assert len(starts) < classes
    edges = [0, *starts, 61]
    for low, high in pairwise(edges):
        held = [value for value in values if low <= value < high]
        assert held
        ties = max(Counter(held).values())
        assert len(held) <= len(values) / classes + ties


def test_sentences_of_one_length_have_nothing_to_tell(tmp_path: Path) -> None:
    data = write_flat(tmp_path / "same", ["a b c", "d e f"], ["g h i"], ["j k l"])
    with pytest.raises(DataError, match="the task 'length' has one class, 'any'"):
        probing_tasks(["length"], data)


def fruits(tmp_path: Path) -> Path:
    train = [
        f"{word} here n{n}"
        for word, count in {"apple": 5, "Pear": 6, "plum": 7, "fig": 4}.items()
        for n in range(count)
    ]
    both = ["apple and pear"]
    return write_flat(
        tmp_path / "fruits", train + both, ["apple so n1", "an old pear"], ["a pear falls", "my plum falls"]
    )


def test_content_asks_for_words_of_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "WORDS", 3)  # fig is too rare; of "here", plum, pear and apple the rarest three
    (task,) = probing_tasks(["content"], fruits(tmp_path))
    assert isinstance(task, Task)
    assert task.labels == ("apple", "pear", "plum")
    assert Counter(label for _, label in asked(task, "train")) == {"apple": 5, "pear": 6, "plum": 7}
    assert asked(task, "test") == [("a pear falls", "pear"), ("my plum falls", "plum")]
    assert ("apple", "and", "pear") not in task.corpus.texts


def test_content_takes_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "WORDS", 3)
    (task,) = probing_tasks(["content"], fruits(tmp_path), sentences=10)
    assert isinstance(task, Task)
    assert len(task.splits["train"]) == 10


def test_content_needs_words_that_recur(treebank: Path) -> None:
    with pytest.raises(DataError, match="needs two words that 5 sentences hold"):
        probing_tasks(["content"], treebank)


def test_punctuation_of_running_text_is_no_part_of_a_word() -> None:
    assert bare(("“Well,", "WELL", "I'm", "'ve", "—", "3", "(dogs’)")) == {"well", "dogs"}
