"""Verbs are asked for the number of their subject two by two, so that the form of the verb says nothing."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import ParsedSentence, load_treebank
from minitl.errors import DataError
from minitl.probing.task import Task
from minitl.probing.tasks import probing_tasks
from minitl.probing.tasks.agreement import paired, verbs
from tests.probing.tasks.made import TREEBANK, asked, clause, write_treebank

CLAUSES = st.lists(
    st.builds(clause, st.just("it"), st.sampled_from(["Sing", "Plur", "Dual"]), st.sampled_from(["saw", "Saw", "ran"])),
    max_size=30,
)


def test_of_the_treebank_the_verbs_that_tell_nothing_are_asked(treebank: Path) -> None:
    # "opens" has no partner.
    (task,) = probing_tasks(["agreement"], treebank)
    assert isinstance(task, Task)
    assert task.labels == ("Plur", "Sing")
    assert asked(task, "train") == [("Opened", "Sing"), ("opened", "Plur")]
    assert asked(task, "test") == [("sat", "Plur"), ("sat", "Sing")]
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
        ("She", "opens", "every", "door", "."): [(1, "opens", "Sing")],
        ("Ann", "and", "Bo", "opened", "boxes", "."): [],  # two of them
        ("They", "were", "opened", "."): [],  # "were" tells
    }


@given(CLAUSES, st.integers(0, 30))
def test_each_form_has_both_numbers_equally_often(clauses: list[ParsedSentence], limit: int) -> None:
    kept = paired(clauses, limit)
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
    assert len(paired(clauses, len(clauses))) == 2 * pairs


def test_a_treebank_without_such_verbs_is_refused(tmp_path: Path) -> None:
    data = write_treebank(tmp_path / "nouns", {**TREEBANK, "train": TREEBANK["train"].replace("VERB", "NOUN")})
    with pytest.raises(DataError, match="the task 'agreement' finds no train example"):
        probing_tasks(["agreement"], data)
