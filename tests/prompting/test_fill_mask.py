"""Words that fill a gap."""

import pytest
import torch

from minitl.errors import InputError
from minitl.tokenization import Tokenizer
from tests.prompting.made import TEXTS, Made, build


def at_the_mask(made: Made, filled: str, which: int = 0) -> torch.Tensor:
    """Log-probabilities over the vocabulary at the mask number `which` of a text, alone in its batch."""
    inputs = made.tokenizer([filled])
    place = (inputs["input_ids"][0] == made.tokenizer.mask_token_id).nonzero()[which, 0]
    with torch.inference_mode():
        return made.model(**inputs).logits[0, place].log_softmax(-1)


def mask_of(made: Made) -> str:
    assert made.tokenizer.mask_token_id is not None
    return made.tokenizer.id_to_token(made.tokenizer.mask_token_id) or ""


def tokens(made: Made) -> list[int]:
    """The ids of the words as they stand behind a space."""
    spelt = {"bert": "{}", "roberta": "Ġ{}"}[made.name]
    return [made.tokenizer.token_to_id(spelt.format(word)) or -1 for word in made.words.values()]


@pytest.mark.parametrize("template", ["{text} it was {mask} .", "it was {mask} : {text}"])
def test_the_score_is_the_words_probability_at_the_mask(encoder: Made, template: str):
    logits = encoder.classifier(template=template).logits(TEXTS)
    for text, row in zip(TEXTS, logits, strict=True):
        filled = template.replace("{text}", text).replace("{mask}", mask_of(encoder))
        torch.testing.assert_close(row, at_the_mask(encoder, filled)[tokens(encoder)], rtol=1e-4, atol=1e-4)


def test_the_template_decides_which_token_a_word_is(tokenizers: dict[str, Tokenizer]):
    made = Made("roberta", tokenizers)
    first = made.classifier(template="{mask} film : {text}", words=["the", "a"])._scorer
    inside = made.classifier(template="{text} not {mask} .", words=["the", "a"])._scorer
    assert [made.tokenizer.id_to_token(i) for i in first.verbalisers] == ["the", "a"]
    assert [made.tokenizer.id_to_token(i) for i in inside.verbalisers] == ["Ġthe", "Ġa"]


def test_a_space_of_the_words_own_changes_nothing(encoder: Made):
    spaced = encoder.classifier(words={label: f" {word}" for label, word in encoder.words.items()})
    torch.testing.assert_close(spaced.scores(TEXTS), encoder.classifier().scores(TEXTS))


@pytest.mark.parametrize(("template", "which"), [("{text} it was {mask} .", 1), ("it was {mask} : {text}", 0)])
def test_a_mask_in_the_text_is_not_the_gap(encoder: Made, template: str, which: int):
    text = f"the {mask_of(encoder)} film"
    logits = encoder.classifier(template=template).logits([text, "good"])
    filled = template.replace("{text}", text).replace("{mask}", mask_of(encoder))
    torch.testing.assert_close(logits[0], at_the_mask(encoder, filled, which)[tokens(encoder)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{text} it was good", "found {mask} 0 times"),
        ("{text} {mask} {mask}", "found {mask} 2 times"),
        ("it was {mask}", "must hold {text} and {mask}, each exactly once"),
    ],
)
def test_a_template_has_one_gap_and_one_text(encoder: Made, template: str, complaint: str):
    with pytest.raises(InputError) as error:
        encoder.classifier(template=template)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["good", "reallyly"],
            "the word 'reallyly' must be one token, as there is one mask, but this tokenizer makes 2 ",
        ),
        (["good", "not bad"], r"makes 2 of it: \['not', 'bad'\]"),
        (["good", "[MASK]"], "must be one token"),
        (["good", "xyzzy"], "the words 'xyzzy' are not in this tokenizer's vocabulary"),
        (["good", "GOOD"], "the words 'good' and 'GOOD' are the same tokens to this tokenizer"),
    ],
)
def test_words_that_one_mask_cannot_tell_are_refused(bert: Made, words: list[str], complaint: str):
    with pytest.raises(InputError, match=complaint):
        bert.classifier(words=words)


def test_a_tokenizer_without_a_mask_is_refused(tokenizers: dict[str, Tokenizer], bert: Made):
    bert.tokenizer = tokenizers["gpt2"]
    bert.model = build("bert", bert.tokenizer)
    with pytest.raises(InputError, match="this tokenizer has no mask token"):
        bert.classifier()
