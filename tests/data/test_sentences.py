"""Paragraphs fall into sentences, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rains.", "Who cares?", "Nobody!", "Well…", "We do."],
        ['"Is it you?"', "“Yes,” he said.", "(Or so.)", "7 came."],
        ['"Go!" he said.'],  # a small letter goes on
        ["J. Austen met Mrs. Dalloway at 3.5 p.m. or so."],
        ["Il dit : « Va. »", "Élan.", "« Oui. »", "»Ja.«", "Er ging."],
        ["I can't.", "You can."],  # the t is no initial
        ["— Je sais !", "— Et moi ?"],
        ["no end"],
    ],
)
def test_a_paragraph_is_cut_where_sentences_end(sentences: list[str]) -> None:
    assert split_sentences("  ".join(sentences)) == sentences


def test_of_white_space_nothing_is_left() -> None:
    assert split_sentences(" \n ") == []


@given(st.text(alphabet='aA .!?"\n(1', max_size=60))
def test_only_white_space_is_lost(paragraph: str) -> None:
    sentences = split_sentences(paragraph)
    assert "".join("".join(sentences).split()) == "".join(paragraph.split())
    assert all(sentence.strip() == sentence != "" for sentence in sentences)
