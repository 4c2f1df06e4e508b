"""Tags of entities: which sets of tags are, and how a sequence is made well-formed."""

from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from minitl.tasks.bio import are_entities, entities, repaired

TAGS = st.lists(st.sampled_from(["O", "B-per", "I-per", "B-org", "I-org"]), max_size=12)


def test_tags_of_entities_are_told_from_others() -> None:
    assert are_entities(["B-per", "I-per", "O"])
    assert are_entities(["O", "B-per"])
    assert not are_entities(["O"])
    assert not are_entities(["NOUN", "VERB", "O"])
    assert not are_entities(["I-per", "O"])


@given(TAGS)
def test_a_repaired_sequence_is_well_formed_and_holds_the_same_entities(tags: list[str]) -> None:
    whole = repaired(tags)
    for before, tag in zip(["O", *whole], whole, strict=False):
        assert not tag.startswith("I-") or before[2:] == tag[2:]
    assert [tag[2:] for tag in whole] == [tag[2:] for tag in tags]
    assert get_entities(whole) == get_entities(tags)  # the CoNLL script is as lenient
    assert repaired(whole) == whole


@given(TAGS)
def test_entities_are_those_of_the_conll_script(tags: list[str]) -> None:
    assert entities(tags) == [(first, last + 1, kind) for kind, first, last in get_entities(tags)]
