"""Word-vector files as the original programs write them, byte by byte; and all that can be wrong with them."""

import contextlib
import gzip
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.checkpoints.word_vectors import FORMATS, read_word_vectors, write_word_vectors
from minitl.errors import CheckpointError, InputError

TABLE = [("the", (0.5, -1.25, 3.0)), ("straße", (1e-3, 2.0, -0.0)), ("東京", (-7.5, 0.1, 1e10))]
VECTORS = np.array([row for _, row in TABLE], np.float32)


def binary(rows=TABLE, header="3 3\n", end=b"\n"):
    return header.encode() + b"".join(w.encode() + b" " + struct.pack(f"<{len(v)}f", *v) + end for w, v in rows)


def lines(rows=TABLE, header="", end="\n"):
    return (header + "".join(f"{w} {' '.join(map(repr, v))}{end}" for w, v in rows)).encode()


CONTENTS = {
    "word2vec": binary(),
    "word2vec as gensim writes it": binary(end=b""),
    "word2vec-text": lines(header="3 3\n"),
    "word2vec-text as word2vec writes it": lines(header="3 3\n", end=" \n"),
    "word2vec-text from Windows": lines(header="3 3\r\n", end="\r\n"),
    "glove": lines(),
    "glove without a last line break": lines()[:-1],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vectors"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_every_format_is_recognised_and_read(path, kind, packed):
    path.write_bytes(gzip.compress(CONTENTS[kind]) if packed else CONTENTS[kind])
    for format in (None, kind.split()[0]):
        words, vectors, repeated = read_word_vectors(path, format)
        assert words == [word for word, _ in TABLE]
        assert vectors.dtype == np.float32
        assert (vectors == VECTORS).all()
        assert repeated == 0


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_limit_reads_the_first_rows(path, kind):
    path.write_bytes(CONTENTS[kind])
    for limit in (1, 2, 3, 99):
        words, vectors, _ = read_word_vectors(path, limit=limit)
        assert len(words) == len(vectors) == min(3, limit)
    with pytest.raises(InputError, match=r"^limit must be an integer of at least 1, got 0$"):
        read_word_vectors(path, limit=0)
    for wrong in ("3", 2.5):
        with pytest.raises(InputError, match=f"^limit must be an integer of at least 1, got {wrong!r}$"):
            read_word_vectors(path, limit=wrong)


def test_words_with_spaces_and_odd_blanks_are_whole(path):
    rows = [
        (", ", (1.0, 2.0)),
        *((w, (3.0, 4.0)) for w in ("a", "b", "c", ". . .", "at name@domain.com", "\u3000", "\x85")),
    ]
    path.write_bytes(lines(rows[1:]))
    assert read_word_vectors(path)[0] == [word for word, _ in rows[1:]]


def test_a_repeated_word_is_left_out_and_counted_and_the_first_stands(path):
    rows = [("a", (1.0, 2.0)), ("b", (3.0, 4.0)), ("a", (5.0, 6.0)), ("c", (7.0, 8.0))]
    for content in (binary(rows, "4 2\n"), lines(rows, "4 2\n"), lines(rows)):
        path.write_bytes(content)
        words, vectors, repeated = read_word_vectors(path)
        assert (words, repeated) == (["a", "b", "c"], 1)
        assert vectors.tolist() == [[1, 2], [3, 4], [7, 8]]


def test_tables_of_many_blocks_are_whole_and_their_places_right(path):
    table = np.arange(20_000, dtype=np.float32).reshape(10_000, 2)
    words = [f"w{i}" for i in range(len(table))]
    for format in FORMATS:
        write_word_vectors(path, words, table, format)
        read, vectors, _ = read_word_vectors(path)
        assert read == words
        assert (vectors == table).all()
    table[8999, 1] = np.nan
    write_word_vectors(path, words, table, "glove")
    with pytest.raises(CheckpointError, match=r"vectors, line 9000: b'nan' is not a finite number \(taken for glove"):
        read_word_vectors(path)


def test_a_vector_longer_than_what_is_read_at_once_is_whole(path):
    table = np.random.default_rng(0).standard_normal((5, 400_000), dtype=np.float32)
    for packed in ("vectors", "vectors.gz"):
        write_word_vectors(path.with_name(packed), list("abcde"), table, "word2vec")
        words, vectors, _ = read_word_vectors(path.with_name(packed))
        assert words == list("abcde")
        assert (vectors == table).all()


BROKEN = {
    "empty": (b"", "vectors: holds no word$"),
    "no numbers": (b"word\n", "line 1: expected a word and its numbers, separated by spaces$"),
    "no words promised": (b"0 3\n", "line 1: expected the number of words and of their dimensions, got b'0 3"),
    "no numbers promised": (b"3 0\n", "line 1: expected the number of words and of their dimensions, got b'3 0"),
    "absurd size": (b"1 9999999\n", "line 1: expected the number of words and of their dimensions"),
    "text of too few": (lines(header="5 3\n"), "line 4: the file ends after 3 of the 5 words that line 1 promises$"),
    "text of too many": (lines(header="2 3\n"), "line 4: there is more than the 2 words that line 1 promises$"),
    "another size": (lines(header="3 4\n"), "line 2: expected a word and 4 numbers, found 3 after the first space$"),
    "a smaller size": (lines(header="3 2\n"), "line 2: expected a word and 2 numbers, found 3 after the first space$"),
    "a short line": (lines() + b"short 1.0 2.0\n", "line 4: expected a word and 3 numbers, found 2 after the first"),
    "a long line": (lines() + b"long 1 2 3 4\n", "line 4: expected a word and 3 numbers, found 4 after the first"),
    "a blank line": (lines() + b"\n", "line 4: expected a word and 3 numbers, found 0 after the first space$"),
    "no number": (lines() + b"word 1.0 x2 3.0\n", "line 4: b'x2' is not a number$"),
    "no number at all": (lines() + b"word 1.0  3.0\n", "line 4: b'' is not a number$"),
    "no word": (lines() + b" 1.0 2.0 3.0\n", "line 4: there is no word before the numbers$"),
    "nan": (lines() + b"word 1.0 nan 3.0\nnext 1 2 3\n", "line 4: b'nan' is not a finite number$"),
    "infinite": (lines() + b"word 1.0 inf 3.0\n", "line 4: b'inf' is not a finite number$"),
    "too large": (lines() + b"word 1.0 1e39 3.0\n", "line 4: b'1e39' is not a finite number$"),
    "Python's number": (lines() + b"word 1.0 1_0 3.0\n", "line 4: b'1_0' is not a number$"),
    "not UTF-8": (lines() + b"w\xff 1.0 2.0 3.0\n", r"line 4: the word b'w\\xff' is not UTF-8: invalid start byte$"),
    "header, then not UTF-8": (b"1 1\nw\xff 1.0\n", r"line 2: the word b'w\\xff' is not UTF-8"),
    "header, then no number": (b"1 2\nword 1.0 x\n", "line 2: b'x' is not a number$"),
    "binary cut in a vector": (binary()[:-6], "byte 41: the file ends within row 3 of the 3 that line 1 promises$"),
    "binary cut in a word": (binary()[:41], "byte 41: the file ends within row 3 of the 3 that line 1 promises$"),
    "binary of too few": (binary(header="4 3\n"), "byte 61: the file ends within row 4 of the 4 that line 1 promises"),
    "binary of too many": (binary(header="2 3\n"), "byte 41: there is more than the 2 words that line 1 promises$"),
    "binary of absurdly many": (binary(header="999999999999 3\n"), "the file ends within row 4 of the 999999999999"),
    "binary, not UTF-8": (b"1 1\nw\xff \0\0\0\0", r"byte 4: the word b'w\\xff' is not UTF-8"),
    "binary, nan": (b"2 1\na \0\0\0\0\nb \0\0\xc0\x7f\n", "byte 10: holds a number that is not finite$"),
    "binary, no word": (b"1 1\n \0\0\0\0", "byte 4: there is no word before the numbers$"),
    "gzip cut": (gzip.compress(binary())[:-12], "vectors: cannot be read: Compressed file ended"),
    "gzip damaged": (b"\x1f\x8bnothing of the kind", "vectors: cannot be read: "),
    "one line without end": (b"x" * (1 << 21), f"line 1: longer than {1 << 20} bytes$"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_file_is_named_with_the_place(path, name):
    content, message = BROKEN[name]
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_word_vectors(path)
    problem, _, guess = str(error.value).partition(" (taken for ")
    assert re.search(message, problem)
    assert problem.startswith(str(path))
    assert re.fullmatch(r"((word2vec|word2vec-text|glove), which it looks like; `format` names another\))?", guess)


def test_a_binary_file_cut_so_short_that_it_looks_like_text_says_what_it_was_taken_for(path):
    path.write_bytes(b"2 2\nword abcd")
    with pytest.raises(CheckpointError, match=r"line 2: .* \(taken for word2vec-text, which it looks like; `format`"):
        read_word_vectors(path)
    with pytest.raises(CheckpointError, match=r"byte 4: the file ends within row 1 of the 2 that line 1 promises$"):
        read_word_vectors(path, "word2vec")


@pytest.mark.parametrize("word", ["to infinity", "not a nan", "version 1_0"])
def test_a_word_may_end_in_what_only_python_takes_for_a_number(path, word):
    for format in ("glove", "word2vec-text"):
        write_word_vectors(path, ["the", word, "of"], VECTORS, format)
        words, vectors, _ = read_word_vectors(path)
        assert words == ["the", word, "of"]
        assert (vectors == VECTORS).all()


def test_an_absent_file_and_a_folder_are_named(path, tmp_path):
    with pytest.raises(CheckpointError, match=r"vectors: no such file$"):
        read_word_vectors(path)
    with pytest.raises(CheckpointError, match=r"cannot be read: "):
        read_word_vectors(tmp_path)


@given(content=st.binary(max_size=80) | st.builds(lambda a, b: a + b, st.just(b"2 2\n"), st.binary(max_size=60)))
def test_any_bytes_are_read_or_refused_with_one_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        words, vectors, _ = read_word_vectors(path)
        assert 0 < len(words) == len(vectors) == len(set(words))
        assert np.isfinite(vectors).all()


plain_words = st.text(st.characters(exclude_characters=" \n\r", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(
    words=st.lists(plain_words, min_size=1, max_size=5, unique=True),
    size=st.integers(1, 4),
    format=st.sampled_from(FORMATS),
    suffix=st.sampled_from(["", ".gz"]),
    data=st.data(),
)
def test_what_is_written_is_read_bit_for_bit(words, size, format, suffix, data, tmp_path_factory):
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    rows = st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=len(words), max_size=len(words))
    vectors = np.array(data.draw(rows), np.float32)
    path = tmp_path_factory.getbasetemp() / f"written{suffix}"
    write_word_vectors(path, words, vectors, format)
    read, again, _ = read_word_vectors(path, format)
    assert read == words
    assert again.tobytes() == vectors.tobytes()


@pytest.mark.parametrize(
    ("word", "formats"),
    [("", FORMATS), ("a\nb", FORMATS), ("a\rb", FORMATS), ("\ud800", FORMATS), (" a", FORMATS), ("a ", FORMATS),
     ("a b", ["word2vec"]), ("page 5", FORMATS)],
)  # fmt: skip
def test_a_word_that_would_not_be_read_again_is_refused_and_nothing_written(path, word, formats):
    path.write_text("old")
    for format in formats:
        with pytest.raises(InputError, match=r"^the word '.*' cannot be written in the format "):
            write_word_vectors(path, ["good", word], np.zeros((2, 2), np.float32), format)
    assert path.read_text() == "old"


def test_an_unknown_format_is_refused(path):
    for call in (
        lambda: read_word_vectors(path, "fasttext"),
        lambda: write_word_vectors(path, ["a"], np.zeros((1, 1), np.float32), "fasttext"),
    ):
        with pytest.raises(InputError, match=r"^format must be one of word2vec, word2vec-text, glove, got 'fasttext'$"):
            call()
