from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl.errors import InputError
from minitl.prompting.fitting import fit, room
from minitl.tokenization import Tokenizer
from tests.prompting.made import WORDS, Made

ASKING = 5  # tokens of the template


@dataclass(frozen=True)
class Counted:
    text: str
    tokens: int


@settings(max_examples=60)
@given(text=st.text(alphabet="good film 東🙂é  \n", max_size=40), limit=st.integers(ASKING + 2, 30))
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_text_loses_at_one_end_alone_and_then_fits(
    tokenizers: dict[str, Tokenizer], name: str, side: str, text: str, limit: int
):
    tokenizer = tokenizers[name]

    def read(text: str) -> Counted:
        return Counted(text, ASKING + len(tokenizer.encode([text], max_length=1000)[0]))

    tokenizer.truncation_side = side
    try:
        prompt = fit(text, read, tokenizer, limit)
    finally:
        tokenizer.truncation_side = "right"
    assert prompt.tokens <= limit
    assert text.startswith(prompt.text) if side == "right" else text.endswith(prompt.text)
    if read(text).tokens <= limit:
        assert prompt.text == text


@settings(max_examples=40)
@given(words=st.lists(st.sampled_from(WORDS), max_size=30), end=st.sampled_from(["", " "]), limit=st.integers(7, 30))
@pytest.mark.parametrize(
    ("name", "side"),
    [
        # The others may read the half of a word that a cut leaves otherwise than they read it in the whole word.
        ("gpt2", "right"),
        ("roberta", "right"),
        ("bert", "right"),
        ("bert", "left"),
    ],
)
def test_a_text_ends_where_the_tokenizer_would_cut_it(
    tokenizers: dict[str, Tokenizer], name: str, side: str, words: list[str], end: str, limit: int
):
    tokenizer, text = tokenizers[name], " ".join(words) + end

    def read(text: str) -> Counted:
        return Counted(text, len(tokenizer.encode([text], max_length=1000)[0]))

    tokenizer.truncation_side = side
    try:
        kept = fit(text, read, tokenizer, limit).text
        wanted = tokenizer.encode([text], max_length=limit)
    finally:
        tokenizer.truncation_side = "right"
    if read(text).tokens > limit:
        assert tokenizer.encode([kept]) == wanted


def test_nothing_is_left_to_cut():
    with pytest.raises(InputError, match="takes 7 tokens without any text; there is room for 6"):
        fit("", lambda text: Counted(text, 7), None, 6)  # type: ignore[arg-type]


def test_the_room_is_what_model_and_tokenizer_allow(gpt2: Made, t5: Made):
    assert room(gpt2.model, gpt2.tokenizer, None) == 64
    assert room(gpt2.model, gpt2.tokenizer, 20) == 20
    assert room(t5.model, t5.tokenizer, None) is None
    assert room(t5.model, t5.tokenizer, 1000) == 1000
    t5.tokenizer.model_max_length = 512
    try:
        assert room(t5.model, t5.tokenizer, None) == 512
    finally:
        t5.tokenizer.model_max_length = None
