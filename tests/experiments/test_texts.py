"""Parts of documents."""

from pathlib import Path

import pytest

from minitl import load_tokenizer
from minitl.data import Dataset, Example
from minitl.errors import InputError
from minitl.experiments.texts import as_long, beginnings, more_from, tokens, unseen

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


KNOWN = [Example("A film that nobody , at last , does n't remember ."), Example("too long"), Example("good")]


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("Too long!", False),  # the same words
        ("too long for us", True),  # of which a short text is a part
        ("is it a film that nobody at last doesn't remember", False),  # the same letters, words parted otherwise
        ("a film that nobody at last did see", True),  # 22 letters in common
        ("of that nobody at last doesn't remember it", False),  # 31, and not from the beginning
        ("", True),
    ],
)
def test_a_text_is_known_where_it_is_one_of_them_or_has_much_of_one_in_it(text: str, new: bool):
    assert unseen([Example(text)], KNOWN) == ([Example(text)] if new else [])


def test_tests_of_another_set_are_those_that_no_split_has(tmp_path: Path):
    (tmp_path / "more.tsv").write_text("text\tlabel\nquite another text\tpositive\ngood\tnegative\n")
    data = Dataset("d", "o", [Example("good", 0)], [], [Example("bad", 1)], ["negative", "positive"])
    assert [one.text for one in more_from(str(tmp_path / "more.tsv"), data)] == ["quite another text"]
    with pytest.raises(InputError, match="other classes"):
        more_from(str(tmp_path / "more.tsv"), Dataset("d", "o", [], [], [], ["a", "b", "c"]))
