"""Treebanks: the real one where it is at hand, a sentence read by hand, and every way to be malformed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import ParsedSentence, load_tagged, load_treebank
from minitl.data.treebank import depths
from minitl.errors import DataError

SENTENCE = """# text = Let's go
1-2\tLet's\t_\t_\t_\t_\t_\t_\t_\t_
1\tLet\tlet\tVERB\tVB\tMood=Imp|VerbForm=Fin\t0\troot\t_\t_
2\t's\twe\tPRON\tPRP\tNumber=Plur\t1\tobj\t_\t_
2.1\tgone\t_\tVERB\t_\t_\t_\t_\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t1\txcomp:some\t_\t_
"""
PARSED = ParsedSentence(
    words=("Let", "'s", "go"),
    lemmas=("let", "we", "go"),
    upos=("VERB", "PRON", "VERB"),
    feats=({"Mood": "Imp", "VerbForm": "Fin"}, {"Number": "Plur"}, {}),
    heads=(-1, 0, 0),
    deprels=("root", "obj", "xcomp:some"),
)


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_a_sentence_is_read_with_all_that_is_said_of_it(tmp_path: Path) -> None:
    data = load_treebank(write(tmp_path / "some.conllu", SENTENCE.replace("\n", "\r\n")))
    assert (data.train, data.validation, data.test) == ([PARSED], [], [])
    assert PARSED.texts == ("Let 's go",)


def test_the_real_treebank_has_its_published_size_and_the_words_of_the_tagged_set(assets: Path) -> None:  # noqa: ARG001
    parsed, tagged = load_treebank("ud-en"), load_tagged("ud-en")
    assert (len(parsed.train), len(parsed.validation), len(parsed.test)) == (12544, 2001, 2077)
    assert [(s.words, s.upos) for s in parsed.test] == [(s.words, s.tags) for s in tagged.test]


def test_a_file_alone_is_cut_the_same_way_each_time(tmp_path: Path) -> None:
    content = "\n\n".join(f"1\tword{i}\t_\tX\t_\t_\t0\troot\t_\t_" for i in range(20))
    path = write(tmp_path / "some.conllu", content)
    data = load_treebank(path, validation_fraction=0.2, test_fraction=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 3, 5)
    words = [sentence.words for split in (data.train, data.validation, data.test) for sentence in split]
    assert sorted(words) == sorted((f"word{i}",) for i in range(20))
    again, other = (load_treebank(path, validation_fraction=0.2, test_fraction=0.25, seed=seed) for seed in (0, 1))
    assert again == data
    assert other.test != data.test


def test_a_folder_has_its_splits(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.conllu", SENTENCE.replace("go", name))
    data = load_treebank(tmp_path)
    assert [split[0].words[2] for split in (data.train, data.validation, data.test)] == ["train", "dev", "test"]


def line(number: str = "1", feats: str = "_", head: str = "0", form: str = "a", deprel: str = "dep") -> str:
    return f"{number}\t{form}\t_\tX\t_\t{feats}\t{head}\t{deprel}\t_\t_\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the treebank is empty"),
        ("# text = nothing\n\n", "the treebank is empty"),
        ("1\ta\t_\tX\n", "line 1: too few columns: 4, where CoNLL-U has 10"),
        (line() + "2 a _ X _ _ 1 dep _ _\n", "line 2: too few columns: 1, where CoNLL-U has 10, parted by tabs"),
        (line()[:-1] + "\tmore\n", "line 1: too many columns: 11"),
        (line("2"), "line 1: the word has the number '2', expected 1"),
        (line() + line("3", head="1"), "line 2: the word has the number '3', expected 2"),
        (line() + line(), "line 2: the word has the number '1', expected 2"),
        (line("x"), "line 1: the word has the number 'x'"),
        (line("01"), "line 1: the word has the number '01'"),
        (line(form=" "), "line 1: the word is missing"),
        (line(deprel=""), r"line 1: the relation \(deprel\) is missing"),
        (line(head="_"), "line 1: the head '_' must be the number of a word, 1 to 1, or 0"),
        (line(head="-1"), "line 1: the head '-1' must be"),
        (line(head="²"), "line 1: the head '²' must be"),
        (line(head="9" * 5000), "line 1: the head '999"),
        (line() + line("2", head="3"), "line 2: the head '3' must be the number of a word, 1 to 2"),
        ("\n" + line(head="1"), r"line 2: the sentence that begins here has no root \(head 0\)"),
        (line() + line("2"), r"line 2: a second root \(head 0\)"),
        (line() + line("2", head="2"), "line 2: the word does not hang on the root: its heads run in a circle"),
        (line() + line("2", head="3") + line("3", head="2"), "line 2: .* in a circle"),
        (line(feats="Number"), r"line 1: the features \(feats\) 'Number': expected Name=Value"),
        (line(feats="Number="), "line 1: the features .* 'Number='"),
        (line(feats="=Sing"), "line 1: the features"),
        (line(feats="A=1||B=2"), "line 1: the features"),
        (line(feats="A=1|A=2"), "line 1: the features .* each name once"),
    ],
)
def test_what_is_malformed_is_named_with_file_and_line(tmp_path: Path, content: str, problem: str) -> None:
    path = write(tmp_path / "bad.conllu", content)
    with pytest.raises(DataError, match=rf"bad\.conllu.*{problem}"):
        load_treebank(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.conllu"
    path.write_bytes(line().encode() + b"\n\xff")
    with pytest.raises(DataError, match=r"bad\.conllu, line 3: byte 0xff is not UTF-8"):
        load_treebank(path)


def test_what_is_not_found_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no treebank 'ud-en' was found.*MINITL_ASSETS \(unset\)"):
        load_treebank("ud-en")


@given(
    st.lists(st.integers(-1, 8), min_size=1, max_size=9).map(
        lambda heads: [h % len(heads) if h >= 0 else h for h in heads]
    )
)
def test_depths_are_the_steps_up_to_the_root(heads: list[int]) -> None:
    def steps(word: int) -> int:
        for count in range(len(heads) + 1):
            if heads[word] == -1:
                return count
            word = heads[word]
        return -1  # in a circle

    assert depths(heads) == [steps(word) for word in range(len(heads))]
