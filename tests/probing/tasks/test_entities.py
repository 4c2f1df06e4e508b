"""Types of entities, and, where there is one type alone, spans that are none."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.errors import DataError
from minitl.probing.task import SPLITS, Task
from minitl.probing.tasks import probing_tasks
from minitl.probing.tasks.entities import others
from tests.probing.tasks.made import asked

TRAIN = """
Ann B-person\nLee I-person\nmet O\nOslo B-place\ncity I-place

no O\nname O\nhere O

Bo I-person\nLee B-person\nran O
"""
VALIDATION = "Oslo B-place\nis O\nbig O\n\nBo B-person\nis O\nbig O"
TEST = "I O\nsaw O\nnew B-place\nrome I-place\nBo B-person"


def write(folder: Path, train: str, validation: str, test: str) -> Path:
    for split, content in {"train": train, "validation": validation, "test": test}.items():
        (folder / f"{split}.conll").write_text(content)
    return folder


def build(data: Path) -> Task:
    (task,) = probing_tasks(["entities"], data)
    assert isinstance(task, Task)
    return task


def test_entities_are_spans_with_types(tmp_path: Path) -> None:
    task = build(write(tmp_path, TRAIN, VALIDATION, TEST))
    assert (task.kind, task.places, task.labels) == ("semantics", 1, ("person", "place"))
    assert asked(task, "train") == [("Ann Lee", "person"), ("Bo", "person"), ("Lee", "person"), ("Oslo city", "place")]
    assert asked(task, "test") == [("Bo", "person"), ("new rome", "place")]
    assert ("no", "name", "here") not in task.corpus.texts


def test_the_type_of_a_span_is_its_words(tmp_path: Path) -> None:
    task = build(write(tmp_path, TRAIN, VALIDATION, TEST))
    types: dict[str, set[int]] = {}
    for split in SPLITS:
        examples = task.splits[split]
        assert examples.kinds is not None
        words = [word for text in task.corpus.texts for word in text]
        for (begin, end), number in zip(examples.spans[:, 0].tolist(), examples.kinds.tolist(), strict=True):
            types.setdefault(" ".join(words[begin:end]), set()).add(number)
    assert sorted(map(len, types.values())) == [1] * 6  # Ann Lee, Bo, Lee, Oslo, Oslo city, new rome
    assert len(set.union(*types.values())) == 6


def test_one_type_is_told_from_spans_that_name_nothing(tmp_path: Path) -> None:
    train = "the O\nflu B-ill\nis O\n, O\n\nbad B-ill\nflu I-ill\nhit O\nus O"
    validation = "a O\nflu B-ill\nis O"
    test = "the O\nflu B-ill\nhit O"
    task = build(write(tmp_path, train, validation, test))
    assert task.labels == ("ill", "none")
    rows = asked(task, "train")
    assert [row for row in rows if row[1] == "ill"] == [("bad flu", "ill"), ("flu", "ill")]
    assert [row for row in rows if row[1] == "none"] in (
        [("hit us", "none"), ("is", "none")],
        [("hit us", "none"), ("the", "none")],
    )


SPANS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)).map(lambda s: (s[0], s[0] + s[1])), max_size=3)


@given(st.lists(st.sampled_from(["a", "7", ",", "b-c"]), min_size=12, max_size=14), SPANS, st.integers(0, 9))
def test_other_spans_share_no_word_and_begin_and_end_with_one(
    words: list[str], spans: list[tuple[int, int]], seed: int
) -> None:
    entities = [span for at, span in enumerate(spans) if all(span[0] >= b or span[1] <= a for a, b in spans[:at])]
    drawn = others(words, entities, torch.Generator().manual_seed(seed))
    covered = [at for begin, end in drawn for at in range(begin, end)]
    assert len(covered) == len(set(covered))
    assert not set(covered) & {at for begin, end in entities for at in range(begin, end)}
    assert all("," not in (words[begin], words[end - 1]) for begin, end in drawn)
    lengths = [end - begin for begin, end in entities]
    for begin, end in drawn:
        lengths.remove(end - begin)


def test_tags_of_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the tags mark no entities \(B-person, I-person, O\): NOUN, VERB"):
        build(write(tmp_path, *["a NOUN\nb VERB\nc NOUN"] * 3))
