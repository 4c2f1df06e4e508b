"""What is known of a task before it is made."""

import pytest

from minitl.models.registry import family_of
from minitl.tasks.kinds import KINDS

WRITING = {"translation", "summarisation", "grpo"}
FAMILIES = ("bert", "electra", "gpt2", "bart", "bilm", "skip-gram")


@pytest.mark.parametrize("name", KINDS)
def test_its_head_and_what_it_does_with_the_model(name: str) -> None:
    kind = KINDS[name]
    heads = {head for family in FAMILIES for head in family_of(family).heads} | {"backbone"}
    assert kind.head in heads
    assert kind.writes == (name in WRITING)
    assert kind.tunes == (name in {"dpo", "grpo"})
