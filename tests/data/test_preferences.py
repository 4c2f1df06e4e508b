"""Preferences and prompts: columns, splits that share no prompt, and damage."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import Example, Preference, load_preferences, load_prompts
from minitl.errors import DataError, InputError


def rows(prompts: int, each: int = 2) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "chosen": f"good {k}", "rejected": "bad"} for i in range(prompts) for k in range(each)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@given(st.integers(3, 30), st.integers(1, 3))
def test_every_pair_is_in_one_split_and_every_prompt_too(
    tmp_path_factory: pytest.TempPathFactory, prompts: int, each: int
) -> None:
    path = write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows(prompts, each))
    data = load_preferences(path)
    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == prompts * each
    seen = [{pair.prompt for pair in split} for split in splits]
    assert sum(map(len, seen)) == prompts == len(set.union(*seen))
    assert all(seen)
    asked = load_prompts(path)  # of the same file: the same prompts are held out, each of them once
    assert [[e.text for e in split] for split in (asked.train, asked.validation, asked.test)] == [
        list(dict.fromkeys(pair.prompt for pair in split)) for split in splits
    ]


def test_a_folder_has_its_own_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(10, 1))
    (tmp_path / "test.csv").write_text('prompt,chosen,rejected\nq," yes"," no"\n')
    data = load_preferences(tmp_path)
    assert data.test == [Preference("q", " yes", " no")]
    assert (len(data.train), len(data.validation)) == (9, 1)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match="has no training split"):
        load_preferences(tmp_path)


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(tmp_path / "a.jsonl", rows(20))
    there, here = load_preferences("~/a.jsonl"), load_preferences(path)
    assert (there.train, there.validation, there.test) == (here.train, here.validation, here.test)
    assert here.test


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"q": "a", "best": "b", "worst": "c"}])
    data = load_preferences(path, prompt="q", chosen="best", rejected="worst")
    assert data.train == [Preference("a", "b", "c")]
    assert load_prompts(path, prompt="q").train == [Example("a")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": "b"}, "line 2: column 'rejected' holds no text"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "line 2: column 'rejected' holds no text"),
        ({"prompt": 1, "chosen": "b", "rejected": "c"}, "line 2: column 'prompt' holds no text"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "line 2: 'chosen' and 'rejected' are the same"),
    ],
    ids=str,
)
def test_damage_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(1, 1), row])
    with pytest.raises(DataError, match=says):
        load_preferences(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no preferences 'nowhere' was found"):
        load_preferences("nowhere")
    with pytest.raises(DataError, match="column 'question' holds no text; the columns are prompt, chosen, rejected"):
        load_prompts(write(tmp_path / "a.jsonl", rows(2)), prompt="question")
    with pytest.raises(InputError, match="leave nothing"):
        load_prompts(tmp_path / "a.jsonl", validation_fraction=0.5, test_fraction=0.5)
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        load_preferences(tmp_path / "b.jsonl")
