"""Streams: every row once a pass, in order, from any place on; what is read is what the loaders in memory read."""

import gzip
import itertools
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl.data import Example, Stream, load_instructions, load_pairs, load_related, load_text
from minitl.data.stream import Rows
from minitl.data.tables import Table
from minitl.errors import DataError, InputError
from tests.data.test_raw import DOCUMENTS, TEXT


def numbered(count: int) -> Rows:
    """Rows with their numbers, as the library streams them of files of ten."""
    import datasets

    def rows(files: list[range]) -> Iterator[dict[str, int]]:
        yield from ({"n": number} for file in files for number in file)

    files = [range(at, min(at + 10, count)) for at in range(0, count, 10)]
    return Rows("rows", lambda: datasets.IterableDataset.from_generator(rows, gen_kwargs={"files": files}), count)


def numbers(table: Table) -> list[int]:
    return [row["n"] for row in table.rows]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), portion=st.integers(1, 50), skipped=st.integers(0, 45), turns=st.integers(1, 6))
def test_every_row_once_a_pass_and_from_any_place_on(count: int, portion: int, skipped: int, turns: int) -> None:
    stream = Stream(numbered(count), numbers, portion, skipped)
    assert list(stream) == list(range(skipped, count))
    if skipped >= count:
        with pytest.raises(DataError, match="no row to learn from"):
            next(stream.portions())
        return
    a_pass = [list(range(at, min(at + portion, count))) for at in range(skipped, count, portion)]
    read = list(itertools.islice(stream.portions(), len(a_pass) + turns))
    assert [examples for _, examples in read] == list(itertools.islice(itertools.cycle(a_pass), len(read)))
    for at, (place, _) in enumerate(read):
        again = Stream(numbered(count), numbers, portion, skipped).portions(json.loads(json.dumps(place)))
        rest = list(itertools.islice(again, len(read) - at))
        assert [(begins["row"], found) for begins, found in rest] == [(p["row"], found) for p, found in read[at:]]
        for (begins, found), _ in zip(rest, range(2), strict=False):  # places that a resumed stream gave lead on, too
            assert next(Stream(numbered(count), numbers, portion, skipped).portions(begins))[1] == found


def test_kinds_of_files_and_archives(tmp_path: Path) -> None:
    texts = [f"text {i}\n\nof two paragraphs " for i in range(7)]
    lines = "".join(json.dumps({"text": text, "other": 1}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "d.parquet")
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.xz", "d.parquet"):
        data = load_text(tmp_path / name, stream=3, validation_fraction=0.34)
        assert data.validation == [Example(texts[0])], name
        assert data.taught is data.stream
        assert isinstance(data.stream, Stream)
        assert list(data.stream) == [Example(text) for text in texts[1:]], name
        assert [len(examples) for _, examples in itertools.islice(data.stream.portions(), 4)] == [3, 3, 3, 3]


@pytest.mark.parametrize("text", [TEXT, "a\n \nb\n\n\n\nc\n", "alone"])
def test_documents_are_those_of_the_loader_in_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(text.encode()))
    for name in ("a.txt", "a.txt.xz"):
        whole = load_text(tmp_path / name, validation_fraction=0).train
        assert list(load_text(tmp_path / name, stream=1, validation_fraction=0).taught) == whole
    if text is TEXT:
        assert whole == DOCUMENTS


def test_other_tasks_read_the_same_as_in_memory(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": "" if i == 2 else f"c{i}"} for i in range(6)]
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = load_instructions(tmp_path / "told.jsonl", stream=4, validation_fraction=0)
    assert list(told.taught) == load_instructions(tmp_path / "told.jsonl", validation_fraction=0, test_fraction=0).train
    pairs = load_pairs(
        tmp_path / "told.jsonl", text="completion", pair="prompt", stream=4, validation_fraction=0, test_fraction=0
    )
    assert list(pairs.taught) == [Example(f"c{i}", f"p{i}") for i in (0, 1, 3, 4, 5)]
    scored = [{"sentence1": f"a{i}", "sentence2": f"b{i}", "score": i} for i in range(5)]
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
    for least in (None, 2.0):
        related = load_related(tmp_path / "scored.jsonl", highest=4, least=least, stream=2, validation_fraction=0)
        whole = load_related(tmp_path / "scored.jsonl", highest=4, least=least, validation_fraction=0)
        assert list(related.taught) == whole.train


def test_a_folder_of_many_files_is_read_one_after_the_other(tmp_path: Path) -> None:
    for name, text in (("train-0", "a"), ("train-1", "b"), ("dev", "c"), ("test", "d")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": 2 * text}))
    data = load_text(tmp_path, stream=3)
    assert [e.text for e in data.taught] == ["a", "aa", "b", "bb"]
    assert ([e.text for e in data.validation], [e.text for e in data.test]) == (["c", "cc"], ["d", "dd"])


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "train-0.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / "train-1.jsonl").write_text('{"text": "c"}\n{"text": broken\n')
    stream = load_text(tmp_path, stream=2, validation_fraction=0).stream
    assert stream is not None
    portions = stream.portions()
    assert [e.text for e in next(portions)[1]] == ["a", "b"]
    with pytest.raises(DataError, match=r"2 files\): cannot be read after row 2: .*JSON"):
        next(portions)


def test_what_cannot_be_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    for name, message in (
        ("absent.jsonl", "no such file or folder"),
        (str(tmp_path / "nowhere"), "no such file or folder"),
        ("novels-eng", r"no data set 'novels-eng' was found; .*MINITL_ASSETS \(unset\)"),
    ):
        with pytest.raises(DataError, match=message):
            load_text(name, stream=5)
    with pytest.raises(DataError, match="whose name begins with train"):
        load_text(tmp_path, stream=5)
    (tmp_path / "train.csv").write_text("text\na\n")
    with pytest.raises(DataError, match=r"files of one kind \(.jsonl, .parquet, .txt\): train.csv"):
        load_text(tmp_path / "train.csv", stream=5)
    (tmp_path / "train-0.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "train-1.txt").write_text("a")
    with pytest.raises(DataError, match=r"files of one kind .*: train-0.jsonl, train-1.txt"):
        load_text(tmp_path, stream=5)
    with pytest.raises(DataError, match=r"train-0.jsonl, row 1: column 'prompt' holds no text; the columns are text"):
        list(load_instructions(tmp_path / "train-0.jsonl", stream=5, validation_fraction=0).taught)
    with pytest.raises(InputError, match="a stream has none"):
        load_instructions(tmp_path / "train-0.jsonl", group="task", stream=5)
    with pytest.raises(InputError, match="at least 1 row"):
        load_text(tmp_path / "train-0.jsonl", stream=0)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        next(load_text(tmp_path / "empty.jsonl", stream=5).stream.portions())  # type: ignore[union-attr]
