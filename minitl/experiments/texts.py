"""Parts of long documents, for models that are to read so much of a text and no more."""

from collections.abc import Sequence

from minitl.data import Example
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
