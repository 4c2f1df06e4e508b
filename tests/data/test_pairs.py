"""Texts with what is to be written of them: aligned files, tables, their splits, and damage."""

import gzip
import json
import logging
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import Example, load_pairs
from minitl.errors import DataError, InputError

DE, EN = ["Ein Hund .", "Zwei Männer .", "Drei Frauen ."], ["A dog .", "Two men .", "Three women ."]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def aligned(folder: Path, stem: str, packed: str = "", **sides: list[str]) -> Path:
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed]
    for language, lines in sides.items():
        content = "".join(f"{line}\n" for line in lines).encode()
        (folder / f"{stem}.{language}{packed}").write_bytes(pack(content))
    return folder


@pytest.mark.parametrize("packed", ["", ".gz", ".xz"])
@pytest.mark.parametrize("validation", ["dev", "val", "validation"])
def test_line_by_line_in_either_direction(tmp_path: Path, packed: str, validation: str) -> None:
    for stem, some in (("train", slice(0, 3)), (validation, slice(0, 1)), ("test", slice(1, 3))):
        aligned(tmp_path, stem, packed, de=DE[some], en=EN[some])
    data = load_pairs(tmp_path, text="de", pair="en")
    assert data.train == [Example(de, en) for de, en in zip(DE, EN, strict=True)]
    assert data.validation == data.train[:1]
    assert data.test == data.train[1:]
    back = load_pairs(tmp_path, text="en", pair="de")
    assert back.train == [Example(e.pair or "", e.text) for e in data.train]


# U+2028 and its kind end no line: they stand within one.
LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1).map(str.strip))


@given(LINES.map(lambda lines: [line for line in lines if line]).filter(bool))
def test_whatever_stands_in_a_line_stays_there(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = aligned(tmp_path_factory.mktemp("some"), "train", xx=lines, yy=lines)
    assert [e.text for e in load_pairs(folder, text="xx", pair="yy", **WHOLE).train] == lines


def test_files_of_different_lengths_are_named_with_their_lines(tmp_path: Path) -> None:
    aligned(tmp_path, "train", de=DE, en=EN[:2])
    with pytest.raises(DataError, match=r"train\.de has 3 lines and .*train\.en has 2: they are not aligned"):
        load_pairs(tmp_path, text="de", pair="en")


def test_languages_have_to_be_named_and_there(tmp_path: Path) -> None:
    aligned(tmp_path, "train", ".gz", de=DE, en=EN)
    aligned(tmp_path, "test", de=DE)
    for named in ({}, {"text": "de"}, {"text": "de", "pair": "de"}):
        with pytest.raises(DataError, match="must name two languages, read and written; there are de, en"):
            load_pairs(tmp_path, **named)
    with pytest.raises(DataError, match=r"train\.fr: no such file, packed or not; there are the languages de, en"):
        load_pairs(tmp_path, text="fr", pair="en")
    with pytest.raises(DataError, match=r"test\.en: no such file"):
        load_pairs(tmp_path, text="de", pair="en")


def test_a_table_of_two_columns_needs_no_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("de\ten\n" + "".join(f"{de}\t{en}\n" for de, en in zip(DE, EN, strict=True)))
    pairs = list(zip(DE, EN, strict=True))
    for named in ({}, {"text": "de"}, {"pair": "en"}, {"text": "de", "pair": "en"}):
        assert load_pairs(path, **named, **WHOLE).train == [Example(*pair) for pair in pairs]
    for named in ({"text": "en"}, {"pair": "de"}):
        assert load_pairs(path, **named, **WHOLE).train == [Example(en, de) for de, en in pairs]


def test_of_more_columns_two_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": i, "q": de, "a": EN[i]}) + "\n" for i, de in enumerate(DE)))
    with pytest.raises(DataError, match="must name the columns, read and written; there are id, q, a"):
        load_pairs(path)
    with pytest.raises(DataError, match="no column 'b' for the pair; the columns are 'id', 'q', 'a'"):
        load_pairs(path, text="q", pair="b")
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: the column 'id' must hold a text, found int 0"):
        load_pairs(path, text="id", pair="a")
    assert load_pairs(path, text="q", pair="a", **WHOLE).train[1] == Example(DE[1], EN[1])


def test_splits_are_cut_off_and_hold_every_pair_once(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("document,summary\n" + "".join(f"text {i},sum {i}\n" for i in range(50)))
    data = load_pairs(path, validation_fraction=0.2, test_fraction=0.1)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 9, 5)
    everything = {e.text for e in data.train + data.validation + data.test}
    assert everything == {f"text {i}" for i in range(50)}
    assert load_pairs(tmp_path, validation_fraction=0.2, test_fraction=0.1).train == data.train  # as a folder, too


def test_pairs_with_an_empty_side_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    aligned(tmp_path, "train", de=[*DE, " ", "x"], en=[*EN, "y", ""])
    with caplog.at_level(logging.WARNING, "minitl"):
        data = load_pairs(tmp_path, text="de", pair="en", **WHOLE)
    assert "2 of 5 pairs have an empty side" in caplog.text
    assert len(data.train) == 3
    aligned(tmp_path, "train", de=["", ""], en=["", ""])
    with pytest.raises(DataError, match=r"train\.en: the data set is empty: it has no pair"):
        load_pairs(tmp_path, text="de", pair="en")


def test_damage_is_named(tmp_path: Path) -> None:
    aligned(tmp_path, "train", ".gz", de=DE, en=EN)
    file = tmp_path / "train.de.gz"
    for content in (b"no archive", gzip.compress(b"Ein Hund .")[:-9]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"train\.de\.gz: not a readable gz archive"):
            load_pairs(tmp_path, text="de", pair="en")
    file.write_bytes(gzip.compress(b"Ein Hund\nf\xfcr"))
    with pytest.raises(DataError, match=r"train\.de\.gz, line 2: byte 0xfc is not UTF-8"):
        load_pairs(tmp_path, text="de", pair="en")


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no set of pairs 'multi30k' was found: MINITL_ASSETS is unset"):
        load_pairs("multi30k", text="de", pair="en")
    with pytest.raises(DataError, match=r"no set of pairs 'xsum' was found.*MINITL_ASSETS \(unset\)"):
        load_pairs("xsum")
    monkeypatch.setenv("MINITL_ASSETS", str(tmp_path))
    with pytest.raises(DataError, match=r"no set of pairs 'wmt' was found.*it knows multi30k, xsum"):
        load_pairs("wmt")
    with pytest.raises(DataError, match=r"multi30k/train\.de: no such file"):
        load_pairs("multi30k", text="de", pair="en")
    with pytest.raises(DataError, match="no data file in this folder"):
        load_pairs(tmp_path)
    with pytest.raises(InputError, match="test_fraction must be at least 0 and below 1"):
        load_pairs(tmp_path, test_fraction=1.0)


def test_the_real_sets(assets: Path) -> None:  # noqa: ARG001
    data = load_pairs("multi30k", text="de", pair="en")
    assert (len(data.train), len(data.validation), len(data.test)) == (29000, 1014, 1000)
    assert data.train[0].pair == "Two young, White males are outside near many bushes."
    assert data.train[0].text.startswith("Zwei junge weiße Männer")
    assert load_pairs("multi30k", text="fr", pair="de").test[0].pair == data.test[0].text
    for name in ("xsum", "cnn_dailymail", "samsum", "gigaword"):
        data = load_pairs(name)
        assert (len(data.train), len(data.validation), len(data.test)) == (144, 16, 40)
