"""Questions on a text that holds the answer, or does not: in SQuAD's format, files or rows of a set on the hub.

    {"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "is_impossible": false,
                                                      "answers": [{"text": …, "answer_start": 17}]}]}]}]}

Published test files often have their answers blanked out: such questions are unlabelled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minitl.checkpoints.weights import read_json
from minitl.data.examples import Dataset, Question
from minitl.data.finding import NotFound, find_files
from minitl.data.hub import fetch_splits
from minitl.data.splits import cut_off
from minitl.errors import DataError, InputError

# Sets of MINITL_ASSETS: the file of each split. The development files of TyDi and all of XQuAD have no answers there.
QUESTIONS: dict[str, dict[str, str]] = {
    **{f"tydiqa-{code}": {"train": f"tydiqa/tydiqa.goldp.{code}.train.json"} for code in ("en", "ko", "sw")},
    **{
        f"tydiqa-{code}-blank": {"test": f"tydiqa/tydiqa.goldp.{code}.dev.json"}
        for code in ["ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te"]
    },
    **{f"xquad-{code}-blank": {"test": f"xquad/xquad.{code}.json"} for code in ("en", "de", "es")},
}


def load_questions(
    name: str | Path, *, validation_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> Dataset[Question]:
    """Find the questions `name` and load all of them.

    A .json file, which becomes the training split, a folder with files named train, validation (dev, valid, val) and
    test, a set known by name under the folder that MINITL_ASSETS names (`QUESTIONS`), or one on the hub, "ID" or
    "ID:CONFIG", with the columns of `squad`.

    A training split without test has `test_fraction` cut off, then one without validation `validation_fraction`, drawn
    with `seed`: by texts, so that no text is in two splits.

    DataError: nothing is found (listing what was tried), a file is damaged or empty, or an answer is not at its offset.
    """
    try:
        paths, origin = find_files(name, QUESTIONS, (".json",), "set of questions")
        splits = {split: list(_questions(path)) for split, path in paths.items()}
    except NotFound as absent:
        fetched, origin = fetch_splits(name, absent)
        splits = {split: list(_rows(rows, f"{origin}, {split}")) for split, rows in fetched.items()}
    train, validation, test = (splits.get(split, []) for split in ("train", "validation", "test"))
    if not test:
        train, test = _cut_by_context(train, test_fraction, seed)
    if not validation:
        train, validation = _cut_by_context(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, test, None)


def _questions(path: Path) -> Iterator[Question]:
    count = 0
    for i, article in enumerate(_list(read_json(path, DataError), "data", str(path))):
        for j, paragraph in enumerate(_list(article, "paragraphs", f"{path}, data[{i}]")):
            place = f"{path}, data[{i}].paragraphs[{j}]"
            context = _string(paragraph, "context", place)
            for entry in _list(paragraph, "qas", place):
                count += 1
                yield _question(entry, context, place)
    if not count:
        raise DataError(f"{path}: the data set is empty: it has no questions")


def _rows(rows: Any, where: str) -> Iterator[Question]:
    """The questions of a split on the hub, whose answers stand in two lists; no answer in them: none is in the text."""
    for number, row in enumerate(rows, start=1):
        place = f"{where}, row {number}"
        answers = row.get("answers")
        if not isinstance(answers, dict) or {"text", "answer_start"} - answers.keys():
            raise DataError(f"{place}: expected a column 'answers' of 'text' and 'answer_start'")
        pairs = zip(answers["text"], answers["answer_start"], strict=True)
        told = [{"text": text, "answer_start": start} for text, start in pairs]
        yield _question({**row, "answers": told}, _string(row, "context", place), place)


def _question(entry: Any, context: str, place: str) -> Question:
    question = _string(entry, "question", place)
    place = f"{place}, question {entry.get('id', question)!r}"
    answers = []
    for answer in [] if entry.get("is_impossible") else _list(entry, "answers", place):
        text, start = _string(answer, "text", place), answer.get("answer_start")
        if (
            not isinstance(start, int)
            or isinstance(start, bool)
            or start < 0
            or context[start : start + len(text)] != text
        ):
            found = context[start : start + len(text)] if isinstance(start, int) else ""
            raise DataError(
                f"{place}: the answer {text!r} is not at its offset {start!r}, where the text has {found!r}"
            )
        answers.append((text, start))
    blank = bool(answers) and not any(text for text, _ in answers)
    return Question(question, context, None if blank else tuple(answers), str(entry.get("id", "")))


def _list(value: Any, field: str, place: str) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get(field), list):
        raise DataError(f"{place}: expected an object whose field {field!r} is a list")
    return value[field]


def _string(value: Any, field: str, place: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get(field), str):
        raise DataError(f"{place}: expected an object whose field {field!r} is a string")
    return value[field]


def _cut_by_context(questions: list[Question], fraction: float, seed: int) -> tuple[list[Question], list[Question]]:
    """`cut_off` of texts, with all questions on them."""
    if not 0 <= fraction < 1:
        raise InputError(f"a fraction to cut off must be at least 0 and below 1, not {fraction}")
    kept, _ = cut_off(list(dict.fromkeys(question.context for question in questions)), fraction, seed)
    stays = set(kept)
    return [q for q in questions if q.context in stays], [q for q in questions if q.context not in stays]
