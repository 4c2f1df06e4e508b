"""Tagging words: whose tags are learnt from, how words get their answers, and what is scored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl import fit, load_model, load_tokenizer
from minitl.data import TaggedSentence
from minitl.errors import DataError
from minitl.nn.output import Output
from minitl.tasks.task import NO_TARGET
from minitl.tasks.token_classification import TokenClassification
from minitl.training import FROZEN, Settings, evaluate, predict

TAGS = ["B-thing", "I-thing", "O"]
WORDS = ["good", "bad", "film", "book", "good.book", "\u200b", "food-hotel"]  # of one token, of three, of none


@pytest.fixture(scope="module")
def task(tiny: Path) -> TokenClassification:
    return TokenClassification(load_tokenizer(tiny), TAGS, max_length=8)


def sentence(words: list[str], tags: list[str] | None) -> TaggedSentence:
    return TaggedSentence(tuple(words), None if tags is None else tuple(tags))


def test_the_first_token_of_a_word_carries_its_tag_and_the_others_none(task: TokenClassification) -> None:
    (item,) = task.encode([sentence(["film", "good.book", "bad"], ["O", "B-thing", "I-thing"])])
    inputs, targets = task.collate([item])
    pieces = [task.tokenizer.id_to_token(int(i)) for i in inputs["input_ids"][0]]
    assert pieces == ["[CLS]", "film", "good", "[UNK]", "book", "bad", "[SEP]"]
    assert targets["tags"].tolist() == [[NO_TARGET, 2, 0, NO_TARGET, NO_TARGET, 1, NO_TARGET]]


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(TAGS)), min_size=1, max_size=25))
def test_every_word_of_a_long_sentence_has_its_place_in_some_row(
    task: TokenClassification, tagged: list[tuple[str, str]]
) -> None:
    words, tags = (list(column) for column in zip(*tagged, strict=True))
    items = task.encode([sentence(words, tags), sentence(["bad"], ["O"])])
    assert all(item.length <= task.max_length for item in items)
    said = []
    for item in items:  # as if the model knew the tags
        answer = np.full(item.length, TAGS.index("O"))
        for start, tag in zip(item.starts, item.tags or [], strict=True):
            if start is not None:
                answer[start] = tag
        said.append(answer)
    task.entities = False  # as they are, not repaired
    predictions = task.predictions(said, items)
    task.entities = True
    assert predictions[1] == ["O"]
    assert predictions[0] == [tag if word != "\u200b" else "O" for word, tag in tagged]


def test_the_loss_is_that_of_first_tokens_alone_and_padding_has_no_share(task: TokenClassification) -> None:
    items = task.encode([sentence(["film", "bad"], ["O", "B-thing"]), sentence(["good"], ["I-thing"])])
    _, targets = task.collate(items)
    logits = torch.randn(2, 4, 3)
    loss, count = task.loss(Output(logits, logits=logits), targets)
    chosen = logits.log_softmax(-1)
    torch.testing.assert_close(loss, -(chosen[0, 1, 2] + chosen[0, 2, 0] + chosen[1, 1, 1]))
    assert count == 3


def test_entities_count_whole_and_by_type(tiny: Path) -> None:
    task = TokenClassification(load_tokenizer(tiny), ["B-a", "I-a", "B-b", "O"])
    truth = [sentence(list("wxyz"), ["B-a", "I-a", "O", "B-b"]), sentence(["w"], ["O"])]
    scores = task.score([["B-a", "O", "O", "B-b"], ["B-b"]], truth)
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["precision"] == pytest.approx(1 / 3)  # "w x" is found by half, and so not at all
    assert scores["recall"] == pytest.approx(1 / 2)
    assert scores["f1"] == pytest.approx(2 / 5)
    assert task.metric == "f1"


def test_parts_of_speech_count_by_the_word(tiny: Path) -> None:
    task = TokenClassification(load_tokenizer(tiny), ["NOUN", "VERB"])
    assert task.metric == "accuracy"
    assert task.score([["NOUN", "VERB"]], [sentence(["a", "b"], ["NOUN", "NOUN"])]) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (sentence([], []), "without words"),
        (sentence(["a"], None), "without tags"),
        (sentence(["a", "b"], ["O"]), "2 words and 1 tags"),
        (sentence(["a"], ["B-person"]), "tag 'B-person' is not one of B-thing, I-thing, O"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_by_its_place(
    task: TokenClassification, example: TaggedSentence, problem: str
) -> None:
    with pytest.raises(DataError, match=f"training example 1: .*{problem}"):
        task.check([sentence(["a"], ["O"]), example], "training")


@pytest.mark.parametrize("frozen", [False, True])
def test_a_tiny_model_learns_to_tag_and_says_so_without_tags(tiny: Path, frozen: bool) -> None:
    task = TokenClassification(load_tokenizer(tiny), ["GOOD", "OTHER"], max_length=12)
    words = ["good", "bad", "film", "book", "food", "was"]
    generator = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(60):
        chosen = [words[i] for i in torch.randint(len(words), (7,), generator=generator)]
        examples.append(sentence(chosen, ["GOOD" if word == "good" else "OTHER" for word in chosen]))
    torch.manual_seed(1)
    model = load_model(tiny, "token-classification", labels=task.label_names)
    settings = Settings(epochs=8, batch_size=8, learning_rate=3e-2 if frozen else 3e-3)
    result = fit(
        model, examples[:40], examples[40:], task=task, settings=settings, **({"strategy": FROZEN} if frozen else {})
    )
    assert result.metrics["accuracy"] > 0.95
    untagged = [sentence(list(example.words), None) for example in examples[40:]]
    said = predict(model, untagged, task=task, batch_size=3)
    assert [len(tags) for tags in said] == [len(example.words) for example in untagged]
    assert task.score(said, examples[40:])["accuracy"] == pytest.approx(
        evaluate(model, examples[40:], task=task)["accuracy"]
    )


def test_tags_that_were_not_taught_count_as_missed_in_a_finished_model(
    task: TokenClassification, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model(tiny, "token-classification", labels=TAGS)
    known = sentence(["good", "film"], ["B-thing", "O"])
    unknown = sentence(["bad", "book"], ["B-person", "I-person"])
    with pytest.raises(DataError, match="validation example 1: tag 'B-person'"):
        fit(model, [known], [known, unknown], task=task, settings=Settings(epochs=1))
    caplog.clear()
    alone = evaluate(model, [known], task=task)
    assert not caplog.messages
    both = evaluate(model, [known, unknown], task=task)
    assert caplog.messages == [
        "2 words of the evaluation have tags that were not taught, and count as missed: B-person, I-person"
    ]
    assert both["loss"] == pytest.approx(alone["loss"])  # nothing is said of how likely they are
    assert both["accuracy"] == alone["accuracy"] / 2
    with pytest.raises(DataError, match="tag 'NOUN' is not one of"):  # of no entity: other data were meant
        evaluate(model, [sentence(["film"], ["NOUN"])], task=task)
    finished = task.in_full()
    truth = [known, unknown]
    assert finished.score([["B-thing", "O"], ["O", "O"]], truth) == {
        "accuracy": 0.5, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)
    }  # fmt: skip
