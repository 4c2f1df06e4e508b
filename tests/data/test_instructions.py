"""Prompts and completions: columns, groups whose rows are about the same documents, and damage."""

import json
import logging
import lzma
from pathlib import Path
from typing import Any

import pytest

from minitl.data import Example, load_instructions
from minitl.errors import DataError, InputError


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    return path


def rows(count: int, *groups: str) -> list[dict[str, Any]]:
    return [{"task": g, "prompt": f"{g} {i}", "completion": str(i)} for g in groups for i in range(count)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.xz"])
def test_every_row_is_in_one_split(tmp_path: Path, name: str) -> None:
    data = load_instructions(write(tmp_path / name, rows(20, "x")))
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 2, 2)
    assert {e.text for e in data.train + data.validation + data.test} == {f"x {i}" for i in range(20)}
    assert Example("x 3", "3") in data.train + data.validation + data.test


def test_of_groups_the_same_documents_are_held_out(tmp_path: Path) -> None:
    data = load_instructions(write(tmp_path / "a.jsonl", rows(20, "x", "y")), group="task")
    for split, documents in ((data.train, range(16)), (data.validation, (16, 17)), (data.test, (18, 19))):
        assert [e.text for e in split] == [f"{g} {i}" for g in "xy" for i in documents]


def test_empty_completions_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(9, "x"), {"task": "x", "prompt": "x 9", "completion": ""}])
    with caplog.at_level(logging.WARNING, "minitl"):
        data = load_instructions(path, group="task")
    assert "1 of 10 completions are empty" in caplog.text
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 1, 0)  # the last was the test


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.jsonl", [{"prompt": row["prompt"], "completion": "x"} for row in rows(20, "x")])  # no groups
    assert load_instructions("~/a.jsonl").train == load_instructions(tmp_path / "a.jsonl").train


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"q": "Why?", "a": "So."}])
    data = load_instructions(path, prompt="q", completion="a", validation_fraction=0, test_fraction=0)
    assert data.train == [Example("Why?", "So.")]


def test_the_real_mix_is_split_by_document(assets: Path) -> None:  # noqa: ARG001
    data = load_instructions("t0_mix")
    assert len(data.train) + len(data.validation) + len(data.test) == 53785  # of 55,185 the others are empty
    assert 0.09 < len(data.test) / 53785 < 0.11
    passages = [{e.text[-400:] for e in split if len(e.text) > 800} for split in (data.train, data.test)]
    assert len(passages[1]) > 500
    assert len(passages[0] & passages[1]) < 0.02 * len(passages[1])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "Why?"}, r"a\.jsonl, line 2: column 'completion' holds no text"),
        ({"prompt": 3, "completion": "So."}, r"a\.jsonl, line 2: column 'prompt' holds no text"),
        ({"prompt": "", "completion": "So."}, "column 'prompt' holds no text"),
    ],
)
def test_a_row_without_text_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        load_instructions(write(tmp_path / "a.jsonl", [*rows(1, "x"), row]))


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", rows(3, "x"))
    with pytest.raises(DataError, match="no column 'set'; the columns are task, prompt, completion"):
        load_instructions(path, group="set")
    with pytest.raises(DataError, match="column 'q' holds no text; the columns are task"):
        load_instructions(path, prompt="q")
    with pytest.raises(InputError, match="leave nothing"):
        load_instructions(path, validation_fraction=0.5, test_fraction=0.5)
    (tmp_path / "b.jsonl.xz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable xz archive"):
        load_instructions(tmp_path / "b.jsonl.xz")
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no instructions 't0_mix'.*MINITL_ASSETS \(unset\)"):
        load_instructions("t0_mix")
