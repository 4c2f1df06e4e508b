"""Tags of words, as in the hand-made treebank."""

from pathlib import Path

import pytest

from minitl.errors import DataError
from minitl.probing.task import Task
from minitl.probing.tasks import probing_tasks
from tests.probing.tasks.made import TREEBANK, asked, write_treebank


def build(name: str, data: Path) -> Task:
    (task,) = probing_tasks([name], data)
    assert isinstance(task, Task)
    return task


def test_parts_of_speech(treebank: Path) -> None:
    task = build("pos", treebank)
    assert (task.kind, task.reads, task.places) == ("form", "words", 1)
    assert task.labels == ("ADV", "AUX", "CCONJ", "DET", "NOUN", "PRON", "PROPN", "PUNCT", "VERB")
    assert asked(task, "test") == [
        ("!", "PUNCT"),
        ("Cats", "NOUN"),
        ("Tom", "PROPN"),
        ("down", "ADV"),
        ("here", "ADV"),
        ("sat", "VERB"),
        ("sat", "VERB"),
        ("up", "ADV"),
    ]
    rows = [line.split() for line in TREEBANK["train"].split("\n") if line]
    assert asked(task, "train") == sorted((form, upos) for form, upos, *_ in rows)


def test_a_part_of_speech_that_is_left_open_is_not_asked(tmp_path: Path) -> None:
    data = write_treebank(tmp_path / "open", {**TREEBANK, "test": TREEBANK["test"].replace("NOUN ", "_ ")})
    assert ("Cats", "_") not in asked(build("pos", data), "test")
    assert len(asked(build("pos", data), "test")) == 7


def test_number(treebank: Path) -> None:
    task = build("number", treebank)
    assert task.labels == ("Plur", "Sing")
    assert asked(task, "test") == [("Cats", "Plur"), ("Tom", "Sing")]
    assert asked(task, "train") == [
        ("Ann", "Sing"),
        ("Bo", "Sing"),
        ("She", "Sing"),
        ("They", "Plur"),
        ("boxes", "Plur"),
        ("door", "Sing"),
        ("doors", "Plur"),
        ("it", "Sing"),
        ("keys", "Plur"),
        ("man", "Sing"),
        ("were", "Plur"),
    ]


def test_tense(treebank: Path) -> None:
    task = build("tense", treebank)
    assert task.labels == ("Past", "Pres")
    assert asked(task, "train") == [
        ("Opened", "Past"),
        *[("opened", "Past")] * 3,
        ("opens", "Pres"),
        ("were", "Past"),
    ]


def test_the_type_of_a_word_is_its_form_whatever_its_case(treebank: Path) -> None:
    task = build("pos", treebank)
    words = [word.lower() for text in task.corpus.texts for word in text]
    types: dict[int, set[str]] = {}
    for examples in task.splits.values():
        assert examples.kinds is not None
        for number, (begin, _) in zip(examples.kinds.tolist(), examples.spans[:, 0].tolist(), strict=True):
            types.setdefault(number, set()).add(words[begin])
    assert all(len(forms) == 1 for forms in types.values())
    assert len(types) == len(set(words))


def test_tags_of_a_conll_file(tmp_path: Path) -> None:
    for split, content in {
        "train": "a X A\nb X B\nc X A",
        "dev": "a X A\nb X B\nd X A",
        "test": "b X B\nb X B\nc X A",
    }.items():
        (tmp_path / f"{split}.conll").write_text(content)
    assert asked(build("tags", tmp_path), "test") == [("b", "B"), ("b", "B"), ("c", "A")]


@pytest.mark.parametrize("ending", ["csv", "JSONL"])
def test_a_table_is_no_treebank(tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"reviews.{ending}"
    table.write_text("text,label\na good film,yes\n")
    with pytest.raises(DataError, match="a table; what is asked of the grammar of words needs a treebank"):
        probing_tasks(["pos"], table)


def test_one_class_is_refused(tmp_path: Path) -> None:
    data = write_treebank(tmp_path / "past", {split: text.replace("Pres", "Past") for split, text in TREEBANK.items()})
    with pytest.raises(DataError, match="the task 'tense' has one class, 'Past': there is nothing to tell"):
        build("tense", data)


def test_a_split_without_example_is_refused(tmp_path: Path) -> None:
    data = write_treebank(tmp_path / "bare", {**TREEBANK, "test": TREEBANK["test"].replace("Tense=Past", "_")})
    with pytest.raises(DataError, match="the task 'tense' finds no test example"):
        build("tense", data)


def test_a_label_that_training_lacks_is_left_out_and_noted(tmp_path: Path) -> None:
    data = write_treebank(tmp_path / "rare", {**TREEBANK, "test": TREEBANK["test"].replace("ADV ", "PART ")})
    task = build("pos", data)
    assert len(task.splits["test"]) == 5
    assert task.notes == ("left out: 3 of 8 test examples, whose label training lacks",)
