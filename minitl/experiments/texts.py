"""Texts for experiments: parts of long documents, for models that are to read so much and no more; and texts that are
not among those learnt from.
"""

import re
from collections.abc import Sequence
from itertools import accumulate

from minitl.data import Dataset, Example, load_dataset
from minitl.errors import InputError
from minitl.experiments.experiment import here
from minitl.tokenization import Tokenizer

LETTERS = 30  # on end, some six words: what two texts of one author share, and two of others hardly


def beginnings(documents: Sequence[Example], words: int) -> list[Example]:
    """The first `words` words of each document, its paragraphs parted as they are."""
    found = []
    for document in documents:
        paragraphs, left = [], words
        for paragraph in document.text.split("\n"):
            if left > 0:
                paragraphs.append(" ".join(paragraph.split()[:left]))
                left -= len(paragraph.split())
        found.append(Example("\n".join(paragraphs)))
    return found


def more_from(name: str, data: Dataset) -> list[Example]:
    """What another set of the same classes, in the same order, has that `data` has not: more to test on."""
    other = here(lambda: load_dataset(name))
    if len(other.label_names or ()) != len(data.label_names or ()):
        raise InputError(f"{name} has other classes: {other.label_names}, not {data.label_names}")
    every = (*other.train, *other.validation, *other.test)
    return unseen(every, (*data.train, *data.validation, *data.test))


def unseen(examples: Sequence[Example], known: Sequence[Example]) -> list[Example]:
    """Those that are no text of `known`, and have no LETTERS on end that stand in one from a word's beginning on.

    Only letters and digits count, in lower case: sets part words in different ways ("don't", "do n't").
    """
    texts, runs = set(), set()
    for one in known:
        words = [_letters(word) for word in one.text.split()]
        text = "".join(words)
        texts.add(text)
        starts = accumulate(map(len, words), initial=0)
        runs |= {run for at in starts if len(run := text[at : at + LETTERS]) == LETTERS}

    def is_new(text: str) -> bool:
        return text not in texts and not any(text[at : at + LETTERS] in runs for at in range(len(text)))

    return [example for example in examples if is_new(_letters(example.text))]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


def tokens(documents: Sequence[Example], tokenizer: Tokenizer) -> list[int]:
    """Of each document, special tokens not counted."""
    return [len(ids) for ids, _ in tokenizer.bare_rows([document.text for document in documents])]


def as_long(documents: Sequence[Example], tokenizer: Tokenizer, wanted: int) -> list[Example]:
    """As much of each document, from its beginning, as makes `wanted` tokens of them all, to about a word a document.

    All of them where they have fewer.
    """
    counts = tokens(documents, tokenizer)
    share = min(1.0, wanted / max(1, sum(counts)))
    lengths = [round(share * len(document.text.split())) for document in documents]
    return [beginnings([one], length)[0] for one, length in zip(documents, lengths, strict=True) if length]
