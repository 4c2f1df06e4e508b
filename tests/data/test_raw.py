"""Unlabelled text: documents of paragraphs, from plain files, archives, and the texts of labelled sets."""

import lzma
from pathlib import Path

import pytest

from minitl.data import Example, load_text
from minitl.data.raw import NOVELS
from minitl.errors import DataError, InputError

TEXT = "One.\nTwo, in the same document.\n\n\n  Three.\n\nFour.\n"
DOCUMENTS = [Example("One.\nTwo, in the same document."), Example("Three."), Example("Four.")]


def test_a_blank_line_ends_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    for name in ("a.txt", "b.txt.xz"):
        assert load_text(tmp_path / name, validation_fraction=0).train == DOCUMENTS
    data = load_text(tmp_path / "a.txt", validation_fraction=0.3)
    assert (len(data.train), len(data.validation)) == (2, 1)
    assert sorted(e.text for e in data.train + data.validation) == sorted(e.text for e in DOCUMENTS)


def test_of_a_labelled_set_the_texts_are_taken(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("words,label\ngood,1\nbad,0\n")
    (tmp_path / "test.csv").write_text("words,label\nfine,1\n")
    data = load_text(tmp_path, text="words", validation_fraction=0)
    assert (data.train, data.test) == ([Example("good"), Example("bad")], [Example("fine")])
    assert data.label_names is None


def test_several_texts_follow_one_another_each_with_a_part_cut_off(tmp_path: Path) -> None:
    names = []
    for language, words in (("eng", "one two three four"), ("deu", "eins zwei drei vier")):
        names.append(str(tmp_path / f"{language}.txt"))
        Path(names[-1]).write_text("\n\n".join(words.split()))
    data = load_text(names, validation_fraction=0.25)
    apart = [load_text(name, validation_fraction=0.25) for name in names]
    assert data.train == [*apart[0].train, *apart[1].train]
    assert data.validation == [*apart[0].validation, *apart[1].validation]
    assert (len(data.train), len(data.validation), data.test) == (6, 2, [])
    assert data.name == ", ".join(names)
    with pytest.raises(InputError, match="a stream is of one text"):
        load_text(names, stream=2)


def test_the_novels_are_there(assets: Path) -> None:
    assert [
        path for files in NOVELS.values() for path in files.values() if not (assets / "data" / path).is_file()
    ] == []
    data = load_text("novels-deu")
    assert (len(data.train), len(data.validation)) == (37, 2)
    assert sum(len(e.text) for e in data.train + data.validation) > 20_000_000


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"\n \n", "the data set is empty"),
        ("a.txt", b"fine\n\xff", "line 2: byte 0xff"),
        ("a.txt.xz", b"no archive", "not a readable xz archive"),
        ("a.txt.xz", lzma.compress(b"cut short")[:-9], "not a readable xz archive"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.txt.*{problem}"):
        load_text(tmp_path / name)


def test_what_is_not_found_says_what_was_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no text 'novels-eng'.*MINITL_ASSETS \(unset\)"):
        load_text("novels-eng")
    monkeypatch.setenv("MINITL_ASSETS", str(tmp_path))
    with pytest.raises(DataError, match=r"novels-eng\.txt\.xz is absent"):
        load_text("novels-eng")
