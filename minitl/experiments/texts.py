"""Texts for experiments: parts of long documents, for models that are to read so much and no more; and texts that are
not among those learnt from.
"""

import re
from collections.abc import Sequence

from minitl.data import Dataset, Example, load_dataset
from minitl.errors import InputError
from minitl.experiments.experiment import here
from minitl.tokenization import Tokenizer


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


def unseen(examples: Sequence[Example], known: Sequence[Example], run: int = 6) -> list[Example]:
    """Those of which no `run` words on end, or all where there are fewer, are a text of `known` or begin one of them.

    Words are compared in lower case and without punctuation.
    """
    texts = {words for one in known if (words := _words(one))}
    long = {words for words in texts if len(words) >= run}
    beginnings = {words[:run] for words in long}

    def is_new(example: Example) -> bool:
        words = _words(example)
        starts = [at for at in range(len(words)) if words[at : at + run] in beginnings]
        return words not in texts and not any(
            words[at:end] in long for at in starts for end in range(at + run, len(words) + 1)
        )

    return [example for example in examples if is_new(example)]


def _words(example: Example) -> tuple[str, ...]:
    return tuple(re.sub(r"[^\w\s]", "", example.text.lower()).split())


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
