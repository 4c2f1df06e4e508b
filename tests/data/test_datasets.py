"""Data sets by name: files and folders in four formats, the order of places, and every kind of bad input."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import datasets as hub_library
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import Dataset, Example, load_dataset
from minitl.errors import DataError, InputError

ROWS = [
    {"text": 'He said "go", and\twent', "label": "pos"},
    {"text": "naïve 日本 🙂", "label": "neg"},
    {"text": "plain, with a comma", "label": "pos"},
]
EXPECTED = [Example(row["text"], label=int(row["label"] == "pos")) for row in ROWS]


def write_csv(path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No assets and no network: what a test finds, it brought along."""
    monkeypatch.delenv("MINITL_ASSETS", raising=False)

    def unreachable(name: str, *_: object, **__: object) -> None:
        raise ConnectionError(f"Couldn't reach {name!r}")

    monkeypatch.setattr(hub_library, "load_dataset", unreachable)


def load(path: Path, content: str | bytes, **options: object) -> Dataset:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_dataset(path, validation_fraction=0, **options)  # type: ignore[arg-type]


# Reading


@pytest.mark.parametrize(("ending", "write"), [("csv", write_csv), ("jsonl", write_jsonl), ("parquet", write_parquet)])
def test_formats_hold_the_same_examples(tmp_path: Path, ending: str, write: Callable[[Path], None]) -> None:
    path = tmp_path / f"set.{ending}"
    write(path)
    dataset = load_dataset(str(path), validation_fraction=0)
    assert dataset.train == EXPECTED
    assert (dataset.validation, dataset.test) == ([], [])
    assert dataset.label_names == ["neg", "pos"]
    assert dataset.origin == str(path)


def test_in_a_tsv_a_quotation_mark_is_a_character(tmp_path: Path) -> None:
    dataset = load(tmp_path / "set.tsv", 'text\tlabel\n"Oh,\tneg\nno" she said\tpos\n')
    assert [example.text for example in dataset.train] == ['"Oh,', 'no" she said']


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=8))
def test_any_text_survives_a_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "set.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((text, 0) for text in texts)
    assert [example.text for example in load_dataset(path, validation_fraction=0).train] == texts


@given(st.lists(st.text(), min_size=1, max_size=8))
def test_any_text_survives_a_jsonl(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "set.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert load_dataset(path, validation_fraction=0).train == [Example(text) for text in texts]


def test_only_a_newline_ends_a_line_of_jsonl(tmp_path: Path) -> None:
    texts = ["next\x85line", "line\u2028separator", "paragraph\u2029separator"]
    content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    assert [example.text for example in load(tmp_path / "set.jsonl", content).train] == texts


@pytest.mark.parametrize("text", ["text", "sentence", "review", "content", "Text"])
@pytest.mark.parametrize("label", ["label", "labels", "class", "sentiment", "score", "Label"])
def test_usual_column_names_are_found(tmp_path: Path, text: str, label: str) -> None:
    dataset = load(tmp_path / "set.csv", f"id,{label},{text}\n7,1,fine\n8,0,poor\n")
    assert dataset.train == [Example("fine", label=1), Example("poor", label=0)]


def test_pairs_and_scores_are_found(tmp_path: Path) -> None:
    dataset = load(tmp_path / "set.csv", "sentence1,sentence2,score\na,b,2.5\nc,d,5\n")
    assert dataset.train == [Example("a", "b", 2.5), Example("c", "d", 5.0)]
    assert dataset.label_names is None


def test_columns_can_be_named(tmp_path: Path) -> None:
    content = "text,body,reply,label,topic\nno,one,two,0,sport\n"
    dataset = load(tmp_path / "set.csv", content, text="body", pair="reply", label="topic")
    assert dataset.train == [Example("one", "two", 0)]
    assert dataset.label_names == ["sport"]


def test_without_label_column_examples_are_unlabelled(tmp_path: Path) -> None:
    dataset = load(tmp_path / "set.csv", "text\none\ntwo\n")
    assert dataset.train == [Example("one"), Example("two")]
    assert dataset.label_names is None


@pytest.mark.parametrize("validation", ["validation", "dev", "valid", "val"])
def test_a_folder_holds_splits(tmp_path: Path, validation: str) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / f"{validation}.tsv").write_text("text\tlabel\nc\ty\n")
    (tmp_path / "test.jsonl").write_text('{"text": "d", "label": "x"}\n')
    dataset = load_dataset(tmp_path)
    assert dataset.train == [Example("a", label=0), Example("b", label=1)]
    assert dataset.validation == [Example("c", label=1)]
    assert dataset.test == [Example("d", label=0)]


def test_a_missing_validation_split_is_cut_from_train(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("text,label\n" + "".join(f"t{i},{i % 2}\n" for i in range(100)))
    dataset = load_dataset(path, validation_fraction=0.2, seed=1)
    assert (len(dataset.train), len(dataset.validation)) == (80, 20)
    assert sum(example.label == 1 for example in dataset.validation) == 10
    assert not set(dataset.train) & set(dataset.validation)
    assert load_dataset(path, validation_fraction=0.2, seed=1) == dataset
    assert load_dataset(path, validation_fraction=0.2, seed=2).validation != dataset.validation


# The order of places


def test_a_local_folder_comes_before_the_embedded_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "train.csv").write_text("text,label\nmine,1\n")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("reviews").train == [Example("mine", label=0)]


@pytest.mark.parametrize("name", ["embedded", "reviews"])
def test_the_embedded_set_needs_no_network(name: str) -> None:
    assert load_dataset(name).origin == "embedded"


def test_what_is_nowhere_ends_in_a_list_of_the_places_tried() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("no-such-set")
    message = str(caught.value)
    places = ("no-such-set is absent", "MINITL_ASSETS (unset)", "the hub (no-such-set", "the embedded set")
    assert all(place in message for place in places)


def test_a_set_that_cannot_be_reached_is_not_replaced_by_another() -> None:
    with pytest.raises(DataError, match="the hub \\(stanfordnlp/sst2: Couldn't reach 'stanfordnlp/sst2'\\)"):
        load_dataset("sst2")


# Bad input


@pytest.mark.parametrize("name", ["/no/such/file.csv", "absent.tsv", "./nowhere", "a/b/c"])
def test_a_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_dataset(name)


def test_an_empty_name() -> None:
    with pytest.raises(DataError, match="name of a data set is empty"):
        load_dataset("")


def test_a_file_of_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set\.xlsx: a data file of unknown kind; expected one of \.csv, \.tsv"):
        load(tmp_path / "set.xlsx", "text")


def test_a_folder_without_data_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file in this folder; expected train, validation and test"):
        load_dataset(tmp_path)


def test_a_folder_with_two_files_for_a_split(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "validation.csv"):
        (tmp_path / name).write_text("text,label\na,0\n")
    with pytest.raises(DataError, match=r"two files for the validation split: dev\.csv and validation\.csv"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("role", ["text", "pair", "label"])
def test_a_named_column_that_is_absent(tmp_path: Path, role: str) -> None:
    with pytest.raises(DataError, match=f"no column 'mood' for the {role}; the columns are 'text', 'label'"):
        load(tmp_path / "set.csv", "text,label\na,0\n", **{role: "mood"})


def test_no_column_with_a_usual_name_for_the_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the columns are 'body', 'label': name one with text="):
        load(tmp_path / "set.csv", "body,label\na,0\n")


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_an_empty_data_set(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"set\.csv: the data set is empty"):
        load(tmp_path / "set.csv", content)


@pytest.mark.parametrize(("ending", "between"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize(("row", "amount"), [("b", "few fields: 1"), ("b|0|c", "many fields: 3")])
def test_a_row_with_the_wrong_number_of_fields(
    tmp_path: Path, ending: str, between: str, row: str, amount: str
) -> None:
    content = f"text|label\na|0\n{row}\n".replace("|", between)
    with pytest.raises(DataError, match=f"set.{ending}, line 3: too {amount}, where 2 are expected \\(text, label\\)"):
        load(tmp_path / f"set.{ending}", content)


def test_a_header_that_names_a_column_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: the header names a column twice: 'text'"):
        load(tmp_path / "set.csv", "text,text\na,b\n")


def test_an_open_quotation_mark(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set\.csv, line 3: not a well-formed row"):
        load(tmp_path / "set.csv", 'text,label\n"a,0\nb,1\n')


@pytest.mark.parametrize(
    ("line", "message"),
    [("{broken", "line 2: broken JSON"), ("[1, 2]", "line 2: expected a JSON object, found list")],
)
def test_broken_json(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"set\.jsonl, {message}"):
        load(tmp_path / "set.jsonl", f'{{"text": "a", "label": 0}}\n{line}\n')


@pytest.mark.parametrize(("value", "found"), [("3", "int 3"), ("null", "nothing")])
def test_a_text_that_is_none(tmp_path: Path, value: str, found: str) -> None:
    with pytest.raises(DataError, match=rf"set\.jsonl, line 1: the column 'text' must hold a text, found {found}"):
        load(tmp_path / "set.jsonl", f'{{"text": {value}, "label": 0}}\n')


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_bytes_that_are_not_text(tmp_path: Path, ending: str) -> None:
    with pytest.raises(DataError, match=rf"set\.{ending}, line 3: byte 0xe9 is not UTF-8 text"):
        load(tmp_path / f"set.{ending}", b"text,label\na,0\ncaf\xe9,1\n")


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    write_parquet(path)
    with pytest.raises(DataError, match=r"set\.parquet: not a readable Parquet file"):
        load(path, path.read_bytes()[:-20])


def test_a_label_of_validation_that_train_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,good\nb,bad\n")
    (tmp_path / "validation.csv").write_text("text,label\nc,good\nd,middling\n")
    with pytest.raises(DataError, match=r"validation\.csv, line 3: the label 'middling' is out of range.* bad, good"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_validation_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(InputError, match="validation_fraction"):
        load_dataset("embedded", validation_fraction=fraction)


def test_a_revision_of_what_is_not_on_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    write_csv(path)
    for name in (path, "embedded"):
        with pytest.raises(InputError, match="has no revisions"):
            load_dataset(name, revision="main")
