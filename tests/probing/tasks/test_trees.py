"""Relations, depths and whole trees of the hand-made treebank."""

from pathlib import Path

import pytest

from minitl.errors import DataError
from minitl.probing.task import Task, TreeTask
from minitl.probing.tasks import probing_tasks
from tests.probing.tasks.made import TREEBANK, asked, write_treebank


def test_relations_are_asked_of_the_word_and_its_head(treebank: Path) -> None:
    (task,) = probing_tasks(["relation"], treebank)
    assert isinstance(task, Task)
    assert (task.kind, task.reads, task.places) == ("syntax", "words", 2)
    assert task.labels == ("advmod", "aux", "cc", "conj", "det", "nsubj", "obj", "punct")  # no root, no subtype
    assert asked(task, "test") == [
        ("!", "sat", "punct"),
        ("Cats", "sat", "nsubj"),
        ("Tom", "sat", "nsubj"),
        ("down", "sat", "advmod"),
        ("here", "down", "advmod"),
        ("up", "sat", "advmod"),
    ]


def test_the_type_of_a_relation_is_the_word_that_hangs(treebank: Path) -> None:
    (task,) = probing_tasks(["relation"], treebank)
    assert isinstance(task, Task)
    train = task.splits["train"]
    assert train.kinds is not None
    words = [word.lower() for text in task.corpus.texts for word in text]
    hanging = [words[begin] for begin in train.spans[:, 0, 0].tolist()]
    pairs = set(zip(hanging, train.kinds.tolist(), strict=True))
    assert len(pairs) == len(set(hanging)) == len(set(train.kinds.tolist()))


def test_depths(treebank: Path) -> None:
    (task,) = probing_tasks(["depth"], treebank)
    assert isinstance(task, Task)
    assert task.labels == ("0", "1", "2", "3")
    assert asked(task, "test") == [
        ("!", "1"),
        ("Cats", "1"),
        ("Tom", "1"),
        ("down", "1"),
        ("here", "2"),
        ("sat", "0"),
        ("sat", "0"),
        ("up", "1"),
    ]
    assert [row for row in asked(task, "train") if row[1] > "1"] == [
        ("A", "2"),
        ("Bo", "2"),
        ("The", "2"),
        ("and", "3"),
        ("every", "2"),
    ]


def test_deep_words_are_one_class(tmp_path: Path) -> None:
    chain = "\n".join(f"w{n} X _ {n} dep" for n in range(9))  # each hangs on the one before
    data = write_treebank(tmp_path / "deep", {s: chain.replace("w", s) for s in TREEBANK})
    (task,) = probing_tasks(["depth"], data)
    assert isinstance(task, Task)
    assert task.labels == ("0", "1", "2", "3", "4", "5", "6 or more")
    assert [label for _, label in asked(task, "test")] == [*"012345", *["6 or more"] * 3]


def test_the_tree_has_each_words_head_and_does_not_judge_punctuation(treebank: Path) -> None:
    (task,) = probing_tasks(["tree"], treebank)
    assert isinstance(task, TreeTask)
    assert {split: len(texts) for split, texts in task.splits.items()} == {"train": 5, "validation": 2, "test": 2}
    starts = task.corpus.starts.tolist()
    found = {}
    for text in task.splits["test"].tolist():
        words = range(starts[text], starts[text + 1])
        heads = [head - starts[text] if head >= 0 else None for head in task.heads[list(words)].tolist()]
        found[" ".join(task.corpus.texts[text])] = (heads, task.scored[list(words)].tolist())
    assert found == {
        "Cats sat down here !": ([1, None, 1, 2, 1], [True, True, True, True, False]),
        "Tom sat up": ([1, None, 1], [True, True, True]),
    }
    assert len(task.heads) == len(task.scored) == starts[-1]


def test_a_tree_takes_two_words(tmp_path: Path) -> None:
    noise = "\n".join(f"{mark} PUNCT _ {min(n, 1)} dep" for n, mark in enumerate("!?."))
    data = write_treebank(tmp_path / "noise", {**TREEBANK, "validation": noise})
    with pytest.raises(DataError, match="the task 'tree' finds no validation sentence of two words"):
        probing_tasks(["tree"], data)
