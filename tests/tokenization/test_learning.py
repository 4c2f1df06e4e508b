"""A vocabulary from text: of the asked size, and one that knows its text again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl import load_tokenizer
from minitl.errors import InputError
from minitl.tokenization.learning import GPT2_TOKENS, ROBERTA_TOKENS, WORDPIECE_TOKENS, learn_tokenizer

TEXTS = [
    f"The {a} {b} walked to the {c}." for a in ("old", "young", "tall") for b in ("man", "woman") for c in ("sea",)
]
TEXTS += ["Café naïve, 12 Straße?"]


@pytest.mark.parametrize(
    ("model_type", "special"),
    [
        ("bert", WORDPIECE_TOKENS),
        ("distilbert", WORDPIECE_TOKENS),
        ("electra", WORDPIECE_TOKENS),
        ("roberta", ROBERTA_TOKENS),
        ("bart", ROBERTA_TOKENS),
        ("gpt2", GPT2_TOKENS),
    ],
)
def test_special_tokens_come_first_and_size_is_bounded(model_type: str, special: list[str]) -> None:
    tokenizer = learn_tokenizer(TEXTS, model_type, 300)
    assert [tokenizer.id_to_token(i) for i in range(len(special))] == special
    assert len(special) + 20 < tokenizer.vocab_size <= 300


def test_bert_puts_its_template_around_whole_words_of_the_text() -> None:
    tokenizer = learn_tokenizer(TEXTS, "bert", 300)
    ids = tokenizer(["the old woman"])["input_ids"][0].tolist()
    assert [tokenizer.id_to_token(i) for i in ids] == ["[CLS]", "the", "old", "woman", "[SEP]"]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (0, 4)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_bytes_say_every_text(text: str) -> None:
    tokenizer = _byte_level()
    assert tokenizer.decode(tokenizer([text])["input_ids"][0]) == text


def _byte_level(kept: list = []) -> object:  # noqa: B006 - learned once
    if not kept:
        kept.append(learn_tokenizer(TEXTS, "gpt2", 300))
    return kept[0]


@pytest.mark.parametrize("model_type", ["bert", "bart", "modernbert"])
def test_saved_is_loaded_again(model_type: str, tmp_path) -> None:
    tokenizer = learn_tokenizer(TEXTS, model_type, 300)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again(TEXTS)["input_ids"].equal(tokenizer(TEXTS)["input_ids"])
    assert ("token_type_ids" in again(TEXTS)) == (model_type == "bert")


@pytest.mark.parametrize(
    ("model_type", "size", "says"),
    [("t5", 300, "cannot be learned here, only for bert"), ("gpt2", 257, "above 257"), ("bert", 5, "above 5")],
)
def test_what_cannot_be_learned(model_type: str, size: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        learn_tokenizer(TEXTS, model_type, size)
