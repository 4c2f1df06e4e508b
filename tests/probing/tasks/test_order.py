"""Swapped neighbours: the same words, one pair of them changed, in half of the sentences."""

from pathlib import Path

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from minitl.probing.task import SPLITS, Task
from minitl.probing.tasks import probing_tasks
from minitl.probing.tasks.order import pairs, swap
from tests.probing.tasks.made import asked, write_flat

TEXTS = st.lists(st.sampled_from(["The", "the", "cat", "sat", ",", ".", "7"]), min_size=2, max_size=9).map(tuple)


@given(TEXTS, st.integers(0, 99))
def test_a_swap_changes_one_pair_of_neighbours_and_no_word(text: tuple[str, ...], seed: int) -> None:
    assume(pairs(text))
    swapped = swap(text, torch.Generator().manual_seed(seed))
    changed = [at for at, (a, b) in enumerate(zip(text, swapped, strict=True)) if a != b]
    assert len(changed) == 2
    first, second = changed
    assert second == first + 1 >= 2  # the first word stays
    assert (swapped[first], swapped[second]) == (text[second], text[first])
    assert {text[first].lower(), text[second].lower()}.isdisjoint({",", "."})


def test_each_pair_is_drawn_at_some_time() -> None:
    text = ("a", "b", "c", "!", "d", "e", "E")
    assert pairs(text) == [1, 4]
    generator = torch.Generator().manual_seed(0)
    assert {swap(text, generator) for _ in range(20)} == {
        ("a", "c", "b", "!", "d", "e", "E"),
        ("a", "b", "c", "!", "e", "d", "E"),
    }


def test_every_other_sentence_is_swapped(tmp_path: Path) -> None:
    texts = [f"w{n} x{n} y{n} z{n}" for n in range(12)]
    data = write_flat(tmp_path / "texts", [*texts[:8], "no no no !"], texts[8:10], texts[10:])
    (task,) = probing_tasks(["bigram-shift"], data)
    assert isinstance(task, Task)
    assert task.splits["train"].kinds is None
    for split, count in zip(SPLITS, (8, 2, 2), strict=True):
        rows = asked(task, split)
        assert len(rows) == count  # "no no no !" has no two words that differ
        assert sum(label == "swapped" for _, label in rows) == count // 2
        for text, label in rows:
            assert (text in texts) == (label == "in order")
            assert " ".join(sorted(text.split())) in [" ".join(sorted(t.split())) for t in texts]
