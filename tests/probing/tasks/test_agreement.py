"""Verbs are asked for the number of their subject two by two, so that the form of the verb says nothing."""

from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import ParsedSentence, load_treebank
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Task
from minitl.probing.tasks import probing_tasks
from minitl.probing.tasks.agreement import Verb, cut, linked, paired, verbs
from tests.probing.tasks.made import TREEBANK, asked, clause, write_treebank

CLAUSES = st.lists(
    st.builds(clause, st.just("it"), st.sampled_from(["Sing", "Plur", "Dual"]), st.sampled_from(["saw", "Saw", "ran"])),
    max_size=30,
)
PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=3, max_size=20).map(
    lambda numbers: [(Verb(a, 0, "saw", "Sing"), Verb(b, 1, "saw", "Plur")) for a, b in numbers]
)


def found_in(table: str, folder: Path) -> list[list[tuple[int, str, str]]]:
    """The verbs of each sentence that is written as a table."""
    data = write_treebank(folder / "made", {"train": dedent(table)})
    sentences = load_treebank(data, validation_fraction=0, test_fraction=0).train
    return [[(verb.at, verb.form, verb.number) for verb in verbs(0, sentence)] for sentence in sentences]


def test_of_the_treebank_the_verbs_that_tell_nothing_are_asked(treebank: Path) -> None:
    # "opens" has no partner. Which of those who "opened" go together is drawn, and so is each pair's split.
    (task,) = probing_tasks(["agreement"], treebank)
    assert isinstance(task, Task)
    assert task.labels == ("Plur", "Sing")
    assert task.splits["train"].kinds is None  # no control task
    of_splits = [[(form.lower(), number) for form, number in asked(task, split)] for split in SPLITS]
    both = [[("opened", "Plur"), ("opened", "Sing")], [("sat", "Plur"), ("sat", "Sing")]]
    assert sorted(map(sorted, of_splits)) == [both[0], both[0], both[1]]
    assert set(task.corpus.texts) == {
        ("The", "keys", "opened", "doors", "."),
        ("A", "man", "Opened", "it", "slowly", "."),
        ("Men", "opened", "cans", "."),
        ("Bo", "opened", "cans", "."),
        ("Cats", "sat", "down", "here", "!"),
        ("Tom", "sat", "up"),
    }


def test_which_verbs_may_be_asked(treebank: Path) -> None:
    found = {
        sentence.words: [(verb.at, verb.form, verb.number) for verb in verbs(0, sentence)]
        for sentence in load_treebank(treebank).train
    }
    assert found == {
        ("The", "keys", "opened", "doors", "."): [(2, "opened", "Plur")],
        ("A", "man", "Opened", "it", "slowly", "."): [(2, "opened", "Sing")],
        ("She", "opens", "every", "door", "."): [],  # a pronoun
        ("Ann", "and", "Bo", "opened", "boxes", "."): [],  # two of them
        ("They", "were", "opened", "."): [],  # "were" tells
    }


def test_who_opened_a_door_may_stand_further_off(tmp_path: Path) -> None:
    table = """
        Keys    NOUN  Number=Plur   7  nsubj
        that    PRON  PronType=Rel  3  nsubj
        opened  VERB  _             1  acl:relcl
        the     DET   _             5  det
        door    NOUN  Number=Sing   3  obj
        slowly  ADV   _             3  advmod
        fell    VERB  _             0  root
        and     CCONJ _             9  cc
        lay     VERB  _             7  conj
        and     CCONJ _            12  cc
        men     NOUN  Number=Plur  12  nsubj
        came    VERB  _             7  conj

        The     DET   _             2  det
        door    NOUN  Number=Sing   4  nsubj:pass
        was     AUX   Number=Sing   4  aux:pass
        opened  VERB  _             0  root
        and     CCONJ _             6  cc
        shut    VERB  _             4  conj
    """
    assert found_in(table, tmp_path) == [
        [(2, "opened", "Plur"), (6, "fell", "Plur"), (8, "lay", "Plur"), (11, "came", "Plur")],
        [],  # "was" is of both
    ]


def test_a_pair_is_alike_in_tense_and_mood_too() -> None:
    """In English a bare form is an infinitive or plural: "it will open", "they open"."""

    def told(number: str, **feats: str) -> ParsedSentence:
        one = clause("it", number, "open")
        return ParsedSentence(one.words, one.lemmas, one.upos, (one.feats[0], feats), one.heads, one.deprels)

    bare, plural = told("Sing", VerbForm="Inf"), told("Plur", VerbForm="Fin", Number="Plur", Person="3")
    assert paired([bare, plural], 9) == []
    assert len(paired([bare, told("Plur", VerbForm="Inf"), plural], 9)) == 1
    assert len(paired([plural, told("Sing", VerbForm="Fin", Number="Sing", Person="3")], 9)) == 1  # the same form


@given(CLAUSES, st.integers(0, 30))
def test_each_form_has_both_numbers_equally_often(clauses: list[ParsedSentence], limit: int) -> None:
    kept = [verb for pair in paired(clauses, limit) for verb in pair]
    counts = Counter((verb.form, verb.number) for verb in kept)
    assert all(counts[form, "Sing"] == counts[form, "Plur"] for form, _ in counts)
    assert len({verb.sentence for verb in kept}) == len(kept) <= limit
    assert len(kept) == len(set(kept))
    for verb in kept:
        sentence = clauses[verb.sentence]
        assert (sentence.words[verb.at].lower(), sentence.feats[0]["Number"]) == (verb.form, verb.number)


@given(CLAUSES)
def test_no_pair_is_missed(clauses: list[ParsedSentence]) -> None:
    counts = Counter((clause.words[1].lower(), clause.feats[0]["Number"]) for clause in clauses)
    pairs = sum(min(counts[form, "Sing"], counts[form, "Plur"]) for form in ("saw", "ran"))
    assert len(paired(clauses, len(clauses))) == pairs


@given(PAIRS)
def test_no_sentence_is_in_two_splits_and_no_pair_is_parted(pairs: list[tuple[Verb, Verb]]) -> None:
    kept = cut(pairs)
    holders = [{verb.sentence for verb in kept[split]} for split in SPLITS]
    assert not any(holders[i] & holders[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    assert Counter(verb for part in kept.values() for verb in part) == Counter(verb for pair in pairs for verb in pair)
    assert all(sum(one.number == "Sing" for one in part) * 2 == len(part) for part in kept.values())


def test_pairs_that_share_a_sentence_are_one_group() -> None:
    a, b, c, d, e, f = (Verb(sentence, 0, "saw", "Sing") for sentence in (0, 1, 2, 3, 4, 5))
    assert linked([(a, b), (c, d), (e, f)]) == [[a, b], [c, d], [e, f]]
    assert linked([(a, b), (c, d), (b, c), (e, f)]) == [[a, b, c, d, b, c], [e, f]]
    assert linked([(a, a)]) == [[a, a]]


def test_four_groups_are_for_training_where_one_is_for_test() -> None:
    pairs = [(Verb(2 * i, 0, "saw", "Sing"), Verb(2 * i + 1, 0, "saw", "Plur")) for i in range(60)]
    assert [len(cut(pairs)[split]) for split in SPLITS] == [80, 20, 20]
    assert [len(cut(pairs[:3])[split]) for split in SPLITS] == [2, 2, 2]


def test_the_cut_is_drawn_by_the_seed_whatever_splits_the_treebank_has(tmp_path: Path) -> None:
    sentence = "{} NOUN Number={} 2 nsubj\n" + "sat VERB _ 0 root\n" + "down ADV _ 2 advmod"
    tables = [sentence.format(f"{name}{i}", name) for i in range(12) for name in ("Sing", "Plur")]
    data = write_treebank(
        tmp_path / "many",
        {"train": "\n\n".join(tables[4:]), "validation": tables[0], "test": "\n\n".join(tables[1:4])},
    )

    def texts(seed: int) -> tuple[tuple[str, ...], ...]:
        (task,) = probing_tasks(["agreement"], data, seed=seed)
        assert isinstance(task, Task)
        assert [len(task.splits[split]) for split in SPLITS] == [16, 4, 4]  # of 24, of which 20 were for training
        return task.corpus.texts

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)


def test_a_treebank_without_such_verbs_is_refused(tmp_path: Path) -> None:
    nouns = {split: table.replace("VERB", "NOUN") for split, table in TREEBANK.items()}
    with pytest.raises(DataError, match="the task 'agreement' finds no train example"):
        probing_tasks(["agreement"], write_treebank(tmp_path / "nouns", nouns))
