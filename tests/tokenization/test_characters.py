import pytest
import torch

from minitl.errors import InputError
from minitl.tokenization.characters import character_ids, encode_characters


def test_a_word_is_its_bytes_shifted_by_one_between_marks():
    assert character_ids("aé", 50) == [259, 98, 0xC3 + 1, 0xA9 + 1, 260]
    assert character_ids("", 50) == [259, 260]
    assert character_ids("a\ud800b", 50) == [259, 98, 99, 260]


def test_a_long_word_keeps_its_first_bytes_and_its_marks():
    assert character_ids("x" * 60, 50) == [259, *[121] * 48, 260]
    assert character_ids("x" * 48, 50) == [259, *[121] * 48, 260]
    assert character_ids("é" * 30, 8) == [259, *[0xC4, 0xAA] * 3, 260]


def test_the_marks_of_a_text_are_words_of_their_own():
    assert [character_ids(word, 50) for word in ("<S>", "</S>")] == [[259, 257, 260], [259, 258, 260]]
    assert len(character_ids("<s>", 50)) == 5


def test_words_are_padded_beyond_the_longest_and_texts_on_the_right():
    batch = encode_characters([["ab", "a"], ["abc"]], length=50, spare=2)
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["input_ids"].tolist() == [
        [[259, 98, 99, 260, 261, 261, 261], [259, 98, 260, 261, 261, 261, 261]],
        [[259, 98, 99, 100, 260, 261, 261], [0] * 7],
    ]
    assert encode_characters([["a" * 60]], length=50, spare=9)["input_ids"].shape == (1, 1, 50)
    assert encode_characters([[""]], length=50, spare=2)["input_ids"].shape == (1, 1, 5)


def test_a_text_without_words_is_a_row_of_padding():
    batch = encode_characters([[], ["a"]], length=50, spare=1)
    assert batch["attention_mask"].tolist() == [[0], [1]]
    assert not batch["input_ids"][0].any()
    assert batch["input_ids"].dtype == torch.int64


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_a_batch_without_any_word_is_refused(texts):
    with pytest.raises(InputError, match=r"^texts holds no word$"):
        encode_characters(texts, 50, 7)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["one two"], r"^texts\[0\] must be a list of words, found one string$"),
        ([["a"], ["b", 3]], r"^texts\[1\]\[1\] must be a string, found int$"),
    ],
)
def test_what_is_no_list_of_words_is_named(texts, message):
    with pytest.raises(InputError, match=message):
        encode_characters(texts, 50, 7)
