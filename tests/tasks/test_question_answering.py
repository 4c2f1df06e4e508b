"""Answering from a text: windows and their spans, the loss, the choice of a span, and SQuAD's two measures."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl import fit, load_model, load_tokenizer
from minitl.data import Question
from minitl.errors import DataError, InputError
from minitl.nn.output import Output
from minitl.tasks.question_answering import Answer, QuestionAnswering, normalized, word_f1
from minitl.training import Settings, predict

WORDS = ["good", "bad", "film", "book", "food", "hotel", "was", "the", "very"]


@pytest.fixture(scope="module")
def task(tiny: Path) -> QuestionAnswering:
    return QuestionAnswering(load_tokenizer(tiny), max_length=16, overlap=4, may_be_none=True)


def question(words: list[str], first: int, count: int, asked: str = "film") -> Question:
    context = " ".join(words)
    start = len(" ".join(words[:first])) + (first > 0)
    text = " ".join(words[first : first + count])
    return Question(asked, context, ((text, start),) if count else (), "q")


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), st.data())
def test_some_window_holds_the_answer_and_from_it_comes_back_exactly(
    task: QuestionAnswering, words: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    count = data.draw(st.integers(1, min(4, len(words) - first)))
    example = question(words, first, count)
    items = task.encode([example])
    assert all(item.length <= 16 for item in items)
    covered = np.concatenate([item.window.offsets for item in items])
    assert {tuple(o) for o in covered.tolist()} == {(m, m + len(w)) for m, w in places(words)}
    sure = []
    for item in items:
        scores = np.zeros((2, item.length), dtype=np.float32)
        if item.start:
            scores[0, item.start] = scores[1, item.end] = 9
        sure.append(scores)
    (answer,) = task.predictions(sure, items)
    assert (answer.text, answer.start) == example.answers[0]  # type: ignore[index]
    assert task.score([answer], [example]) == {"exact_match": 1.0, "f1": 1.0}


def places(words: list[str]) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in words:
        found.append((at, word))
        at += len(word) + 1
    return found


def test_neighbouring_windows_share_the_overlap_and_begin_with_the_question(task: QuestionAnswering) -> None:
    items = task.encode([question(WORDS * 4, 0, 1, "was the food good")])
    assert len(items) > 2
    for left, right in pairwise(items):
        assert left.window.offsets[-4:].tolist() == right.window.offsets[:4].tolist()
    heads = {tuple(item.window.row.ids[: item.window.first].tolist()) for item in items}
    assert len(heads) == 1


def test_a_question_that_would_leave_no_room_is_cut(task: QuestionAnswering) -> None:
    items = task.encode([question(["good", "film"], 1, 1, "very " * 50)])
    assert [item.length for item in items] == [5 + 2 + 3]  # half of the window, less the special tokens
    with pytest.raises(InputError, match="windows of 16 tokens that share 12 have no room"):
        task.tokenizer.windows(["film"], ["good"], 16, 12)


def test_windows_leave_the_tokenizer_as_it_was(task: QuestionAnswering) -> None:
    before = task.tokenizer.encode(["good " * 30], max_length=16)
    task.encode([question(WORDS * 4, 0, 1)])
    assert task.tokenizer.encode(["good " * 30], max_length=16) == before
    assert len(task.tokenizer.encode(["good " * 30], max_length=40)[0]) == 32


def test_the_loss_is_by_hand_and_padding_has_no_share(task: QuestionAnswering) -> None:
    items = task.encode([question(WORDS, 2, 2), question(["good"], 0, 0)])
    _, targets = task.collate(items)
    start, end = torch.randn(2, 13), torch.randn(2, 13)
    loss, count = task.loss(Output(start, start_logits=start, end_logits=end), targets)
    expected = torch.zeros(())
    for row, item in enumerate(items):
        for logits, place in ((start, item.start), (end, item.end)):
            expected -= logits[row, : item.length].log_softmax(-1)[place] / 2
    torch.testing.assert_close(loss, expected)
    assert (count, items[1].start, items[1].end) == (2, 0, 0)


def test_spans_run_forwards_and_are_no_longer_than_allowed(tiny: Path) -> None:
    task = QuestionAnswering(load_tokenizer(tiny), max_length=16, overlap=4, longest=2)
    (item,) = task.encode([question(WORDS[:6], 0, 1)])
    first = item.window.first
    scores = np.zeros((2, item.length), dtype=np.float32)
    scores[0, first + 3], scores[1, first] = 9, 9  # the end before the start
    scores[1, first + 5] = 5  # three tokens on
    scores[1, first + 4] = 2
    (answer,) = task.predictions([scores], [item])
    assert answer.text == f"{WORDS[3]} {WORDS[4]}"
    assert answer.score == 11


@pytest.mark.parametrize("may_be_none", [False, True])
def test_none_is_the_answer_only_where_it_may_be_and_scores_higher(tiny: Path, may_be_none: bool) -> None:
    task = QuestionAnswering(load_tokenizer(tiny), max_length=16, overlap=4, may_be_none=may_be_none)
    (item,) = task.encode([question(WORDS[:3], 0, 1)])
    scores = np.zeros((2, item.length), dtype=np.float32)
    scores[:, 0] = 1
    (answer,) = task.predictions([scores], [item])
    assert (answer.text == "") == may_be_none
    assert answer.no_answer == 2


@pytest.mark.parametrize(("none", "text"), [(2.0, "good"), (2.5, ""), (3.0, ""), (9.0, "")])
def test_none_must_score_higher_than_the_best_span(tiny: Path, none: float, text: str) -> None:
    task = QuestionAnswering(load_tokenizer(tiny), max_length=16, overlap=4, may_be_none=True)
    (item,) = task.encode([question(WORDS[:3], 0, 1)])
    scores = np.zeros((2, item.length), dtype=np.float32)
    scores[:, 0] = none / 2
    scores[:, item.window.first] = 1
    assert task.predictions([scores], [item]) == [Answer(text, 0 if text else -1, 2.0, none)]


@pytest.mark.parametrize(
    ("none", "text"), [([9, 1, 9], "hotel"), ([9, 3, 9], "hotel"), ([9, 5, 9], ""), ([5, 9, 9], "")]
)
def test_of_several_windows_the_best_span_counts_and_the_least_of_there_being_none(
    tiny: Path, none: list[float], text: str
) -> None:
    task = QuestionAnswering(load_tokenizer(tiny), max_length=16, overlap=4, may_be_none=True)
    words = WORDS[:4] * 5
    items = task.encode([question([*words, "hotel"], 20, 1)])
    assert len(items) == 3
    given = []
    for item, without in zip(items, none, strict=True):
        scores = np.zeros((2, item.length), dtype=np.float32)
        scores[:, 0] = without / 2
        scores[:, item.window.first] = 1
        if item.start:
            scores[:, item.start] = 2
        given.append(scores)
    (answer,) = task.predictions(given, items)
    assert (answer.text, answer.score, answer.no_answer) == (text, 4.0, min(none))


def test_the_measures_of_squad() -> None:
    assert normalized("The  Panthers' Defense!") == "panthers defense"
    assert word_f1("the big red dog", "a red dog") == pytest.approx(2 * 2 / (3 + 2))
    assert word_f1("", "") == word_f1("the", "") == 1.0
    assert word_f1("dog", "") == 0.0


def test_of_several_true_answers_the_nearest_counts(task: QuestionAnswering) -> None:
    example = Question("q", "red dog and cat", (("red dog", 0), ("cat", 12)))
    assert task.score([Answer("a cat", 0, 0.0, 0.0)], [example]) == {"exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (Question("q", "text", None, "7"), "question '7' is not labelled"),
        (Question("q", "text", (("ext", 0),), "7"), "question '7': the answer 'ext' is not at its offset 0"),
        (Question("q", "text.", (("ext", -4),), "7"), "question '7': the answer 'ext' is not at its offset -4"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(task: QuestionAnswering, example: Question, problem: str) -> None:
    with pytest.raises(DataError, match=f"training example 0: {problem}"):
        task.check([example], "training")


def test_a_question_without_answer_is_refused_where_none_may_be(tiny: Path) -> None:
    with pytest.raises(DataError, match="has no answer: say may_be_none"):
        QuestionAnswering(load_tokenizer(tiny)).check([Question("q", "text", ())], "training")


def test_a_tiny_model_learns_to_find_the_word_that_is_asked_for(tiny: Path) -> None:
    task = QuestionAnswering(load_tokenizer(tiny), max_length=24, overlap=4)
    generator = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(160):
        words = ["film", "book", "food", "hotel", "was", "the"]
        words.insert(int(torch.randint(6, (), generator=generator)), "good")
        examples.append(question(words, words.index("good"), 1, "very"))
    torch.manual_seed(1)
    model = load_model(tiny, "question-answering")
    settings = Settings(epochs=10, batch_size=8, learning_rate=3e-3)
    result = fit(model, examples[:120], examples[120:], task=task, settings=settings)
    assert result.metrics["f1"] > 0.9
    unlabelled = [Question(e.question, e.context) for e in examples[120:]]
    said = predict(model, unlabelled, task=task)
    assert task.score(said, examples[120:])["f1"] == pytest.approx(result.metrics["f1"])
