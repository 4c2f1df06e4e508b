"""Words as rows of character ids, as ELMo reads them: UTF-8 bytes between marks, padded to one length.

    0             no character: padding beyond the last word of a text
    1 … 256       the bytes 0 … 255
    257, 258      begin and end of the text, each the content of a word of its own
    259, 260      begin and end of a word
    261           padding within a word

The published ids begin at 0; they are shifted by one, so that 0 can mean padding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.tokenization.inputs import check_list, check_strings

CHARACTERS = 262
TEXT_BEGIN, TEXT_END, WORD_BEGIN, WORD_END, WORD_PADDING = range(257, 262)
MARKS = {"<S>": TEXT_BEGIN, "</S>": TEXT_END}  # the published spelling of words that stand for a text's bounds


def character_ids(word: str, length: int) -> list[int]:
    """The ids of one word between its marks; of a long one the first `length` - 2 bytes, even if that cuts a character.

    They are at most `length`, and not padded.
    """
    # A lone surrogate has no bytes, and the published code drops it.
    content = [MARKS[word]] if word in MARKS else [byte + 1 for byte in word.encode("utf-8", "ignore")]
    return [WORD_BEGIN, *content[: length - 2], WORD_END]


def encode_characters(texts: Sequence[Sequence[str]], length: int, spare: int) -> dict[str, Tensor]:
    """Texts given as lists of words -> `input_ids` [texts, words, characters], and `attention_mask` [texts, words].

    Short words are padded to the longest and `spare` characters beyond, at most to `length`; short texts on the right.
    InputError: a text that is no list of strings, or no word in any of them.
    """
    check_words(texts)
    longest = max(map(len, texts), default=0)
    if longest == 0:
        raise InputError("texts holds no word")
    known = {word: character_ids(word, length) for word in {word for text in texts for word in text}}
    width = min(length, max(3, *map(len, known.values())) + spare)  # 3: a text's begin and end are words of 3
    padded = {word: ids + [WORD_PADDING] * (width - len(ids)) for word, ids in known.items()}
    nothing = [0] * width
    rows = [[padded[word] for word in text] + [nothing] * (longest - len(text)) for text in texts]
    mask = [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


def check_words(texts: Sequence[Sequence[str]]) -> None:
    """InputError, naming the place, unless `texts` holds lists of strings."""
    check_list("texts", texts)
    for number, text in enumerate(texts):
        if isinstance(text, str):
            raise InputError(f"texts[{number}] must be a list of words, found one string")
        check_strings(f"texts[{number}]", text)
