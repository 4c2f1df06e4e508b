"""Classes and scores of texts and pairs."""

from pathlib import Path

import pytest
import torch

from minitl.errors import DataError
from minitl.probing.task import SPLITS, Task
from minitl.probing.tasks import probing_tasks
from tests.probing.tasks.made import asked


def write(folder: Path, **splits: str) -> Path:
    for split, content in splits.items():
        (folder / f"{split}.csv").write_text(content)
    return folder


def build(name: str, data: Path, sentences: int = 2000) -> Task:
    (task,) = probing_tasks([name], data, sentences=sentences)
    assert isinstance(task, Task)
    return task


CLASSES = {
    "train": "text,label\nfine  film,good\npoor film,bad\na bore,bad\n",
    "validation": "text,label\nfine film,good\ndull,bad\n",
    "test": "text,label\ngreat fun,good\nno fun,bad\n",
}


def test_texts_have_classes(tmp_path: Path) -> None:
    task = build("classes", write(tmp_path, **CLASSES))
    assert (task.kind, task.reads, task.places, task.labels) == ("task", "texts", 1, ("bad", "good"))
    assert asked(task, "train") == [("a bore", "bad"), ("fine film", "good"), ("poor film", "bad")]
    assert asked(task, "validation") == [("dull", "bad")]  # "fine film" is in training
    assert task.notes == ("left out: 1 validation examples, which share a text with an earlier split",)
    assert asked(task, "test") == [("great fun", "good"), ("no fun", "bad")]
    assert task.splits["train"].kinds is None


def test_numbered_classes_keep_the_order_of_numbers(tmp_path: Path) -> None:
    rows = "".join(f"text {n} x,{n}\n" for n in (10, 9, 2))
    splits = {split: "text,label\n" + rows.replace("x", split) for split in SPLITS}
    assert build("classes", write(tmp_path, **splits)).labels == ("2", "9", "10")


PAIRS = {
    "train": "sentence1,sentence2,score\na cat,a dog,1.5\na dog,two dogs,4\n",
    "validation": "sentence1,sentence2,score\na cow,a cow,5\n",
    "test": "sentence1,sentence2,score\na hen,a dog,2.5\na hen,an egg,0\n",
}


def test_pairs_have_scores(tmp_path: Path) -> None:
    task = build("similarity", write(tmp_path, **PAIRS))
    assert (task.kind, task.reads, task.places, task.labels) == ("task", "texts", 2, None)

    def rows(split: str) -> list[tuple[str, str, float]]:
        examples = task.splits[split]  # type: ignore[index]
        assert examples.labels.dtype == torch.float32
        texts = [[" ".join(task.corpus.texts[begin]) for begin, _ in spans] for spans in examples.spans.tolist()]
        return sorted(
            (first, second, score) for (first, second), score in zip(texts, examples.labels.tolist(), strict=True)
        )

    assert rows("train") == [("a cat", "a dog", 1.5), ("a dog", "two dogs", 4)]
    assert rows("validation") == [("a cow", "a cow", 5)]
    assert rows("test") == [("a hen", "an egg", 0)]
    assert task.notes == ("left out: 1 test examples, which share a text with an earlier split",)
    assert sorted(task.corpus.texts) == sorted(
        [("a", "cat"), ("a", "dog"), ("two", "dogs"), ("a", "cow"), ("a", "hen"), ("an", "egg")]
    )


def test_pairs_may_have_classes(tmp_path: Path) -> None:
    splits = {
        split: f"sentence1,sentence2,label\n{split} a,{split} b,no\n{split} c,{split} d,yes\n" for split in SPLITS
    }
    task = build("classes", write(tmp_path, **splits))
    assert task.places == 2
    assert asked(task, "test") == [("test a", "test b", "no"), ("test c", "test d", "yes")]


def test_a_draw_is_balanced_and_no_larger_than_asked(tmp_path: Path) -> None:
    rows = "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60))
    path = tmp_path / "texts.csv"
    path.write_text(rows)
    task = build("classes", path, sentences=16)
    assert [len(task.splits[split]) for split in SPLITS] == [16, 4, 4]
    assert task.splits["train"].labels.sum() == 8


@pytest.mark.parametrize(
    ("name", "rows", "problem"),
    [
        ("classes", "text\na b\nc d\ne f\ng h\n", "needs a column of classes"),
        ("classes", "text,score\na,0.5\nb,1.5\nc,2\nd,3\ne,1\n", "needs a column of classes"),
        ("similarity", "text,score\na,1\nb,2\nc,3\nd,4\n", "needs pairs with a score, and there is no second text"),
        ("similarity", "sentence1,sentence2\na,b\nc,d\ne,f\ng,h\n", "and there is no score"),
        ("similarity", "sentence1,sentence2,score\n" + "".join(f"a{n},b{n},3\n" for n in range(9)), "has one score"),
    ],
)
def test_data_of_another_kind_is_refused(tmp_path: Path, name: str, rows: str, problem: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(rows)
    with pytest.raises(DataError, match=rf"some\.csv.*{problem}"):
        build(name, path)
