"""Questions in SQuAD's format: the real sets where they are at hand, and made-up files for what can go wrong."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from minitl.data import Question, load_questions
from minitl.data.questions import QUESTIONS
from minitl.errors import DataError, InputError

FINE: dict[str, Any] = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Ada wrote the first program.",
                    "qas": [
                        {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]},
                        {"id": "2", "question": "Where?", "is_impossible": True, "answers": []},
                        {"id": "3", "question": "What?", "answers": [{"text": "", "answer_start": 0}]},
                    ],
                }
            ]
        }
    ]
}


def test_the_real_sets_have_their_published_sizes_and_share_no_text(assets: Path) -> None:  # noqa: ARG001
    data = load_questions("tydiqa-en")
    assert len(data.train) + len(data.validation) + len(data.test) == 3696
    contexts = [{question.context for question in split} for split in (data.train, data.validation, data.test)]
    assert not contexts[0] & contexts[1] | contexts[0] & contexts[2] | contexts[1] & contexts[2]
    blank = load_questions("xquad-de-blank").test
    assert len(blank) == 1190
    assert all(question.answers is None for question in blank)


def test_every_declared_file_is_there(assets: Path) -> None:
    assert [f for files in QUESTIONS.values() for f in files.values() if not (assets / "data" / f).is_file()] == []


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_answered_unanswerable_and_unlabelled_questions_are_told_apart(tmp_path: Path) -> None:
    text = "Ada wrote the first program."
    data = load_questions(write(tmp_path / "some.json", FINE))
    assert data.train == [
        Question("Who?", text, (("Ada", 0),), "1"),
        Question("Where?", text, (), "2"),
        Question("What?", text, None, "3"),
    ]


def broken(path: list[Any], value: Any) -> dict[str, Any]:
    content = copy.deepcopy(FINE)
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


PARAGRAPH = ["data", 0, "paragraphs", 0]
ANSWER = [*PARAGRAPH, "qas", 0, "answers", 0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not valid JSON"),
        ({}, "field 'data' is a list"),
        ({"data": []}, "it has no questions"),
        (broken(["data", 0], 3), r"data\[0\]: expected an object whose field 'paragraphs'"),
        (broken([*PARAGRAPH, "context"], None), r"paragraphs\[0\]: expected an object whose field 'context' is a str"),
        (broken([*PARAGRAPH, "qas", 0], 3), "field 'question' is a string"),
        (broken([*ANSWER, "answer_start"], 1), "question '1': the answer 'Ada' is not at its offset 1, .* has 'da '"),
        (broken([*ANSWER, "answer_start"], "0"), "not at its offset '0'"),
        (broken([*ANSWER, "answer_start"], None), "not at its offset None"),
        (broken([*ANSWER], {"text": "program", "answer_start": -8}), "'program' is not at its offset -8"),
        (broken([*ANSWER], {"text": "da", "answer_start": True}), "'da' is not at its offset True"),
    ],
)
def test_a_damaged_file_is_named_with_the_place(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"some\.json.*{problem}"):
        load_questions(write(tmp_path / "some.json", content))


def test_splits_are_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "train.json", FINE)
    write(tmp_path / "dev.json", FINE)
    data = load_questions(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (3, 3, 0)  # of one text nothing is cut off


def test_what_is_not_found_says_what_was_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no set of questions 'squod'.*MINITL_ASSETS \(unset\)"):
        load_questions("squod")
    with pytest.raises(DataError, match="no data file in this folder"):
        load_questions(tmp_path)
    with pytest.raises(InputError, match="fraction"):
        load_questions(write(tmp_path / "some.json", FINE), test_fraction=1.0)
