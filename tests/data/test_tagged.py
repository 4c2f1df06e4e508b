"""Tagged sentences: the real sets where they are at hand, and small made-up files for what can go wrong."""

from pathlib import Path

import pytest

from minitl.data import TaggedSentence, load_tagged
from minitl.data.tagged import TAGGED
from minitl.errors import DataError, InputError

SIZES = {  # train, validation, test, tags: as the sources publish them, a tenth cut off where there is no validation
    "wnut17": (3394, 1009, 1287, 13),
    "gum": (2245, 250, 1000, 23),
    "ncbi_disease": (5424, 923, 940, 3),
    "ud-en": (12544, 2001, 2077, 17),
    "udpos-en": (19128, 2125, 3974, 17),
    "udpos-zh": (0, 0, 1000, 15),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_real_sets_have_their_published_sizes(assets: Path, name: str) -> None:  # noqa: ARG001
    data = load_tagged(name)
    assert data.label_names is not None
    assert (len(data.train), len(data.validation), len(data.test), len(data.label_names)) == SIZES[name]
    assert all(sentence.words for split in (data.train, data.validation, data.test) for sentence in split)


def test_every_declared_file_is_there(assets: Path) -> None:
    assert [f for files in TAGGED.values() for f in files.values() if not (assets / "data" / f).is_file()] == []


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.conll").write_text(content)
    return folder


def test_columns_are_parted_by_tabs_or_else_by_spaces(tmp_path: Path) -> None:
    content = "-DOCSTART- O\n\nNew York\tB-place\n.\tO\n\n\nHi UH O\nthere RB O\n"
    data = load_tagged(write(tmp_path, train=content), validation_fraction=0)
    assert data.train == [
        TaggedSentence(("New York", "."), ("B-place", "O")),
        TaggedSentence(("Hi", "there"), ("O", "O")),
    ]
    assert data.label_names == ["B-place", "O"]


def test_a_column_can_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, train="Hi UH O\nthere RB O\n") / "train.conll"
    assert load_tagged(path, column=1).train == [TaggedSentence(("Hi", "there"), ("UH", "RB"))]


CONLLU = """# text = Let's go
1-2\tLet's\t_\t_\t_\t_\t_\t_\t_\t_
1\tLet\tlet\tVERB\tVB\t_\t0\troot\t_\t_
2\t's\twe\tPRON\tPRP\t_\t1\tobj\t_\t_
2.1\tgone\t_\tVERB\t_\t_\t_\t_\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t1\txcomp\t_\t_
"""


@pytest.mark.parametrize(("column", "tags"), [(None, "VERB PRON VERB"), ("deprel", "root obj xcomp"), (4, "VB PRP VB")])
def test_of_conllu_the_words_of_the_tree_are_taken(tmp_path: Path, column: str | int | None, tags: str) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(CONLLU)
    assert load_tagged(path, column=column).train == [TaggedSentence(("Let", "'s", "go"), tuple(tags.split()))]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Hi\tO\nthere\n", r"train\.conll, line 2: too few columns: 1, where the tag stands in column 2"),
        ("Hi\tO\n\t O\n", r"train\.conll, line 2: the word is missing"),
        ("\n\n", r"train\.conll: the data set is empty"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        load_tagged(write(tmp_path, train=content))


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_bytes(b"Hi\tO\n\xff\tO\n")
    with pytest.raises(DataError, match=r"train\.conll, line 2: byte 0xff"):
        load_tagged(tmp_path)


def test_a_tag_that_training_does_not_know_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write(tmp_path, train="Hi\tO\n", test="Hi\tO\n\nBonn\tB-place\n")
    with pytest.raises(DataError, match=r"test\.conll, line 3: the tag 'B-place' does not occur in the training split"):
        load_tagged(folder)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("upos", "only the columns of CoNLL-U have names"),
        (7, "column 8"),
        (0, "column 0 is that of the words: give the index of the tags"),
        (-2, "line 1: too few columns: 2, where the tag stands in column 3"),  # else the words would be tags
    ],
)
def test_a_column_that_is_not_there_is_refused(tmp_path: Path, column: str | int, problem: str) -> None:
    with pytest.raises((InputError, DataError), match=problem):
        load_tagged(write(tmp_path, train="Hi\tO\n"), column=column)


@pytest.mark.parametrize("column", ["id", "form", 0, 1, -9, -10])
def test_the_words_of_conllu_are_no_tags(tmp_path: Path, column: str | int) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(CONLLU)
    with pytest.raises(InputError, match="are the word's number and the word, not its tags"):
        load_tagged(path, column=column)


def test_an_unknown_column_of_conllu_lists_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(CONLLU)
    with pytest.raises(InputError, match="'pos': those of CoNLL-U are id, form"):
        load_tagged(path, column="pos")


def test_what_is_not_found_says_what_was_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    with pytest.raises(DataError, match=r"no tagged data set 'wnut17'.*MINITL_ASSETS \(unset\)"):
        load_tagged("wnut17")
    monkeypatch.setenv("MINITL_ASSETS", str(tmp_path))
    with pytest.raises(DataError, match=r"wnut17/train\.conll is absent"):
        load_tagged("wnut17")
    with pytest.raises(DataError, match="it knows wnut17, gum"):
        load_tagged("conll")
    with pytest.raises(DataError, match="no data file in this folder"):
        load_tagged(tmp_path)


def test_a_file_alone_is_cut_into_splits(tmp_path: Path) -> None:
    path = write(tmp_path, train="\n\n".join(f"w{n} O" for n in range(20))) / "train.conll"
    data = load_tagged(path, validation_fraction=0.25, test_fraction=0.2)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 4, 4]
    assert len({*data.train, *data.validation, *data.test}) == 20


def test_words_of_conllu_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "some.conllu"
    path.write_text(CONLLU.replace("\n3\t", "\n4\t"))
    with pytest.raises(DataError, match=r"some\.conllu, line 6: the word has the number '4', expected 3"):
        load_tagged(path)


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path, dev="Hi\tO\n", valid="Hi\tO\n", train="Hi\tO\n")
    with pytest.raises(DataError, match="two files for the validation split"):
        load_tagged(tmp_path)
