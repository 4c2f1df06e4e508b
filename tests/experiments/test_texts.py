"""Parts of documents."""

from pathlib import Path

from minitl import load_tokenizer
from minitl.data import Example
from minitl.experiments.texts import as_long, beginnings, tokens

DOCUMENTS = [Example("the film was\ngood and fine\nwe"), Example("a book")]


def test_a_document_is_cut_after_so_many_words():
    assert [one.text for one in beginnings(DOCUMENTS, 4)] == ["the film was\ngood", "a book"]
    assert beginnings(DOCUMENTS, 7) == DOCUMENTS


def test_documents_are_cut_to_so_many_tokens_in_all(tiny: Path):
    tokenizer = load_tokenizer(tiny)
    long = [Example(" ".join(["film", "was"] * 50)), Example(" ".join(["book"] * 100))]
    assert tokens(long, tokenizer) == [100, 100]
    assert tokens(as_long(long, tokenizer, 50), tokenizer) == [25, 25]
    assert as_long(DOCUMENTS, tokenizer, 1000) == DOCUMENTS
