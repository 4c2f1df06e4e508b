"""Labels become indices or scores, alike in every split, or one clear error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data.columns import Record
from minitl.data.labels import encode_labels
from minitl.errors import DataError


def split(*labels: Any) -> list[Record]:
    return [Record("text", None, label, f"set.csv, line {line}") for line, label in enumerate(labels, start=2)]


def encoded(label_names: list[str] | None = None, **splits: list[Record]) -> tuple[dict[str, list[Any]], Any]:
    examples, names = encode_labels(splits, label_names)
    return {name: [example.label for example in of_split] for name, of_split in examples.items()}, names


def test_names_are_numbered_in_alphabetic_order() -> None:
    assert encoded(train=split("pos", "neg", "pos")) == ({"train": [1, 0, 1]}, ["neg", "pos"])


@given(st.integers(1, 12).flatmap(lambda n: st.permutations(range(n))), st.booleans())
def test_0_to_n_minus_1_stand_for_themselves(labels: list[int], as_text: bool) -> None:
    rows = split(*(map(str, labels) if as_text else labels))
    assert encoded(train=rows) == ({"train": labels}, [str(index) for index in range(len(labels))])


def test_other_whole_numbers_are_numbered_in_numeric_order() -> None:
    assert encoded(train=split("10", "9", "-1")) == ({"train": [2, 1, 0]}, ["-1", "9", "10"])


def test_decimal_fractions_are_scores() -> None:
    assert encoded(train=split("5.0", "3.8", "4"), test=split("0")) == ({"train": [5.0, 3.8, 4.0], "test": [0.0]}, None)


def test_who_asks_for_scores_gets_them_of_whole_numbers_too() -> None:
    splits = {"train": split("5", 1, "+3"), "test": split("4", "2.5")}  # 4 does not occur in training
    examples, names = encode_labels(splits, scores=True)
    labels = [example.label for of_split in examples.values() for example in of_split]
    assert (labels, names) == ([5.0, 1.0, 3.0, 4.0, 2.5], None)
    assert all(isinstance(label, float) for label in labels)
    with pytest.raises(DataError, match=r"set\.csv, line 3: the label 'good' is not a finite number"):
        encode_labels({"train": split("5", "good")}, scores=True)
    assert encode_labels({"train": split(1, 0)}, ["bad", "good"], scores=True)[1] == ["bad", "good"]  # as declared


def test_truth_values_are_classes() -> None:
    assert encoded(train=split(True, False)) == ({"train": [1, 0]}, ["False", "True"])


def test_every_split_is_numbered_by_the_training_split() -> None:
    assert encoded(train=split("a", "b", "c"), validation=split("c"), test=split("b", "c"))[0] == {
        "train": [0, 1, 2],
        "validation": [2],
        "test": [1, 2],
    }


def test_without_training_split_all_splits_decide() -> None:
    assert encoded(validation=split("b"), test=split("a")) == ({"validation": [1], "test": [0]}, ["a", "b"])


def test_a_split_without_any_label_is_unlabelled() -> None:
    assert encoded(train=split("a", "b"), test=split(None, None))[0]["test"] == [None, None]
    assert encoded(train=split("", "")) == ({"train": [None, None]}, None)


def test_declared_names_belong_to_indices() -> None:
    assert encoded(["neg", "pos"], train=split(1, 1)) == ({"train": [1, 1]}, ["neg", "pos"])


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"train": split("a", "b"), "validation": split("a", "z")},
            r"set.csv, line 3: the label 'z' is out of range: the known labels are a, b",
        ),
        ({"train": split(0, 1), "test": split(2)}, "set.csv, line 2: the label '2' is out of range"),
        ({"train": split(0, 1), "test": split(-1)}, "set.csv, line 2: the label '-1' is out of range"),
        ({"train": split("a", "")}, "set.csv, line 3: the label is missing"),
        ({"train": split(0.5, float("nan"))}, "set.csv, line 3: the label nan is not a finite number"),
        ({"train": split("0.5"), "test": split("good")}, "set.csv, line 2: the label 'good' is not a finite number"),
        ({"train": split("a", ["b"])}, "set.csv, line 3: a label must be a word or a number, found list"),
    ],
)
def test_bad_labels_are_named_with_their_place(splits: dict[str, list[Record]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode_labels(splits)


def test_an_index_beyond_the_declared_names_is_refused() -> None:
    with pytest.raises(DataError, match="line 3: the label '2' is out of range: the known labels are 0, 1"):
        encode_labels({"train": split(0, 2)}, ["neg", "pos"])
