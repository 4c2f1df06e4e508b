"""Spelling is asked of words that training did not have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import TaggedSentence
from minitl.probing.task import SPLITS, Split, Task
from minitl.probing.tasks import affixes, probing_tasks
from minitl.probing.tasks.affixes import forms
from minitl.probing.tasks.drawing import behind
from tests.probing.tasks.made import asked, write_flat

WORDS = st.sampled_from(
    ["sitting", "Sitting", "reading", "unread", "untied", "ready", "cat", "co-op", "walked", "WALKED"]
)
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(lambda w: TaggedSentence(tuple(w))), max_size=4)


@given(SENTENCES, SENTENCES, SENTENCES, st.integers(0, 9))
def test_no_form_is_in_two_splits_and_each_stands_where_it_is_said_to(
    train: list[TaggedSentence], validation: list[TaggedSentence], test: list[TaggedSentence], seed: int
) -> None:
    drawn = behind("some", {"train": train, "validation": validation, "test": test})
    found = forms(drawn, seed)
    words = [word for text in drawn.corpus.texts for word in text]
    everywhere = [form for split in SPLITS for form in found[split]]
    assert len(everywhere) == len(set(everywhere))
    assert set(everywhere) == {word.lower() for word in words if len(word) >= 5 and word.isalpha()}
    for split in SPLITS:
        spans = [range(first, first + len(sentence.words)) for first, sentence in drawn.words(split)]
        for form, at in found[split].items():
            assert words[at].lower() == form
            assert any(at in span for span in spans)
        assert list(found[split].values()) == sorted(found[split].values())  # no order of the alphabet


TEXTS = (
    ["Reading needs slowly .", "Remove nobody gladly .", "nothing Reading cats ."],
    ["Return walking badly ."],
    ["Remake a sitting .", "Nobleman asked kindly ."],
)
EXPECTED: dict[str, dict[Split, list[tuple[str, ...]]]] = {
    "prefix": {
        "train": [("Reading", "re"), ("Remove", "re"), ("nobody", "no"), ("nothing", "no")],
        "validation": [("Return", "re")],
        "test": [("Nobleman", "no"), ("Remake", "re")],
    },
    "suffix": {
        "train": [("Reading", "ng"), ("gladly", "ly"), ("nothing", "ng"), ("slowly", "ly")],
        "validation": [("badly", "ly"), ("walking", "ng")],
        "test": [("kindly", "ly"), ("sitting", "ng")],
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_frequent_beginnings_and_ends_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(affixes, "CLASSES", 2)
    (task,) = probing_tasks([name], write_flat(tmp_path / "texts", *TEXTS))
    assert isinstance(task, Task)
    assert {split: asked(task, split) for split in SPLITS} == EXPECTED[name]
    assert task.splits["train"].kinds is None  # no control task: no form recurs


def test_a_form_of_two_splits_goes_to_either() -> None:
    same = [TaggedSentence(("reading",))]
    drawn = behind("some", {"train": same, "validation": [], "test": same})
    holders = {next(split for split in SPLITS if forms(drawn, seed)[split]) for seed in range(20)}
    assert holders == {"train", "test"}
