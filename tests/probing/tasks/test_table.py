"""Tasks by name: what is shared, what is drawn, what is refused, and what the real data gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitl.data import TaggedSentence
from minitl.errors import DataError, InputError
from minitl.probing.task import SPLITS, Corpus, Task, TreeTask
from minitl.probing.tasks import TASKS, probing_tasks
from minitl.probing.tasks.drawing import draw
from tests.probing.tasks.made import write_flat

SURFACE = ["length", "prefix", "suffix"]


def texts_of(task: Task | TreeTask) -> dict[str, set[tuple[str, ...]]]:
    """The texts in which a split's places lie."""
    if isinstance(task, TreeTask):
        return {split: {task.corpus.texts[text] for text in task.splits[split].tolist()} for split in SPLITS}
    by_word = [text for text in task.corpus.texts for _ in text]
    items = by_word if task.reads == "words" else task.corpus.texts
    places = {split: task.splits[split].spans[..., 0].flatten().tolist() for split in SPLITS}
    return {split: {items[at] for at in places[split]} for split in SPLITS}


def corpora(tasks: list[Task | TreeTask]) -> list[Corpus]:
    return list({id(task.corpus): task.corpus for task in tasks}.values())


@pytest.fixture
def flat_texts(tmp_path: Path) -> Path:
    words = ["sing", "under", "walking", "reading", "redo", "undo"]
    texts = [
        " ".join(words[(n * k) % 6] + "abcde"[(n + k) % 5] * (n % 7) for k in range(1, 4 + n % 4)) for n in range(70)
    ]
    return write_flat(tmp_path / "flat", texts[:40], texts[40:55], texts[55:])


def test_tasks_on_the_same_data_share_their_corpus(treebank: Path) -> None:
    names = ["length", "pos", "number", "tense", "relation", "depth", "tree"]
    tasks = probing_tasks(names, treebank)
    assert [task.name for task in tasks] == names
    assert len(corpora(tasks)) == 1


def test_tagged_sentences_serve_as_plain_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "some.conll"
    path.write_text("\n\n".join("\n".join(f"w{n} {'AB'[k % 2]}" for k in range(3 + n % 3)) for n in range(12)))
    tasks = probing_tasks(["tags", "length"], path)
    assert len(corpora(tasks)) == 1
    assert len(tasks[0].corpus.texts) == 12


def test_running_text_is_cut_into_sentences_and_shared(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    lines = [f"Go on {n} miles. So {n} times, said Ann. Too short." for n in range(12)]
    path.write_text("\n".join(lines))
    tasks = probing_tasks(["length", "bigram-shift"], path)
    assert set(tasks[0].corpus.texts) == {
        text for n in range(12) for text in (("Go", "on", str(n), "miles."), ("So", str(n), "times,", "said", "Ann."))
    }
    assert isinstance(tasks[0], Task)
    assert [len(tasks[0].splits[split]) for split in SPLITS] == [16, 4, 4]  # 4 : 1 : 1
    for texts in texts_of(tasks[0]).values():  # the sentences of a paragraph stay together
        assert len({number for text in texts for number in text if number.isdigit()}) == len(texts) / 2


def test_a_draw_is_the_same_each_time_and_begins_the_larger_one(flat_texts: Path) -> None:
    first, again, more, other = (
        probing_tasks(SURFACE, flat_texts, sentences=n, seed=seed) for n, seed in ((12, 0), (12, 0), (24, 0), (12, 1))
    )
    for a, b in zip(first, again, strict=True):
        assert isinstance(a, Task)
        assert isinstance(b, Task)
        assert a.corpus == b.corpus
        assert a.labels == b.labels
        for split in SPLITS:
            assert a.splits[split].spans.equal(b.splits[split].spans)
            assert a.splits[split].labels.equal(b.splits[split].labels)
    assert first[0].corpus.texts[:12] == more[0].corpus.texts[:12]
    assert len(first[0].corpus.texts) == 12 + 3 + 3
    assert first[0].corpus.texts != other[0].corpus.texts


TEXTS = st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda w: TaggedSentence(tuple(w))))


@given(TEXTS, TEXTS, TEXTS, st.integers(1, 4))
def test_no_text_is_drawn_twice(
    train: list[TaggedSentence], validation: list[TaggedSentence], test: list[TaggedSentence], limit: int
) -> None:
    pools = {"train": train, "validation": validation, "test": test}
    try:
        drawn = draw("some", pools, dict.fromkeys(SPLITS, limit))  # type: ignore[arg-type]
    except DataError:
        return
    assert len(set(drawn.corpus.texts)) == len(drawn.corpus.texts)
    assert all(len(text) >= 3 for text in drawn.corpus.texts)
    for split in SPLITS:
        assert 1 <= len(drawn.sentences[split]) <= limit
        assert [drawn.corpus.texts[number] for number, _ in drawn.texts(split)] == [
            sentence.words for sentence in drawn.sentences[split]
        ]
        words = [word for text in drawn.corpus.texts for word in text]
        assert all(tuple(words[at : at + len(s.words)]) == s.words for at, s in drawn.words(split))


def test_a_training_draw_takes_all_that_is_new_and_long_enough() -> None:
    three, four, long = (TaggedSentence(tuple("a" * n)) for n in (3, 4, 61))
    drawn = draw(
        "some",
        {
            "train": [three, TaggedSentence(("a", "b")), three, long],
            "validation": [three, four],
            "test": [TaggedSentence(tuple("b" * 60))],
        },
        dict.fromkeys(SPLITS, 9),  # type: ignore[arg-type]
    )
    assert {split: [len(s.words) for s in drawn.sentences[split]] for split in SPLITS} == {
        "train": [3],
        "validation": [4],
        "test": [60],
    }


@pytest.mark.parametrize(
    ("names", "options", "problem"),
    [
        ([], {}, "no task is named: there are length, content"),
        (["pos", "tens"], {}, "unknown task 'tens', did you mean 'tense'"),
        (["xyzzy"], {}, "unknown task 'xyzzy'; there are length"),
        (["pos", "pos"], {}, "'pos' is named twice"),
        (["pos"], {"sentences": 3}, "sentences must be at least 4, not 3"),
        (["tags"], {"data": None}, "the task 'tags' is for data of your own, and none is named"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    treebank: Path, names: list[str], options: dict[str, int], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        probing_tasks(names, **({"data": treebank} | options))  # type: ignore[arg-type]


def test_a_set_without_training_split_is_refused(assets: Path) -> None:  # noqa: ARG001
    with pytest.raises(DataError, match="no train split"):
        probing_tasks(["tags"], "udpos-ar")


# Examples of training, validation and test, and classes, at 400 sentences.
SIZES = {
    "length": (400, 100, 100, 6),
    "pos": (6864, 1468, 1345, 17),
    "number": (2642, 548, 516, 3),
    "tense": (762, 154, 141, 2),
    "relation": (6464, 1366, 1243, 32),
    "depth": (6864, 1468, 1345, 7),
    "prefix": (513, 113, 104, 20),
    "suffix": (854, 199, 170, 20),
    "bigram-shift": (383, 97, 92, 2),
    "agreement": (416, 114, 112, 2),
    "content": (400, 100, 100, 30),
}


@pytest.mark.slow
def test_the_real_treebank_gives_enough_of_each(assets: Path) -> None:  # noqa: ARG001
    tasks = probing_tasks([*SIZES, "tree"], sentences=400)
    assert len(corpora(tasks)) == 4
    for task in tasks:
        texts = texts_of(task)
        assert not texts["train"] & (texts["validation"] | texts["test"])
        assert not texts["validation"] & texts["test"]
        if isinstance(task, Task):
            assert task.labels is not None
            assert (*(len(task.splits[split]) for split in SPLITS), len(task.labels)) == SIZES[task.name]
            assert task.splits["train"].labels.unique().tolist() == list(range(len(task.labels)))


@pytest.mark.slow
def test_every_task_builds_on_its_own_data(assets: Path) -> None:  # noqa: ARG001
    own = [name for name, entry in TASKS.items() if entry.data is not None]
    for task in probing_tasks(own):
        texts = texts_of(task)
        assert not texts["train"] & (texts["validation"] | texts["test"])
        if isinstance(task, Task):
            enough = (500, 120, 120) if task.name == "agreement" else (1000, 200, 200)  # all there are, and usual
            assert all(len(task.splits[split]) >= enough[at] for at, split in enumerate(SPLITS)), task.name
            assert all(len(examples.spans) == len(examples.labels) for examples in task.splits.values())
