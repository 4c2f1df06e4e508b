"""What can be read off a sentence's words: its length, which words it holds (Conneau et al. 2018, section 2)."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from minitl.data import TaggedSentence
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Split, Task, Text
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import behind
from minitl.probing.tasks.source import Source

BINS = 6  # as in SentEval
WORDS = 30
OFTEN = 0.01  # the least share of sentences that hold each of these words
FEWEST = 5  # sentences, where the share is of few


def length(about: About, source: Source) -> Task:
    """How many words a sentence has: six classes with bounds that part the training sentences evenly."""
    drawn = source.plain
    starts = bounds([len(sentence.words) for sentence in drawn.sentences["train"]], BINS)
    names = _names(starts)
    asked = {
        split: [
            Question((place(text),), names[bisect_right(starts, len(sentence.words))])
            for text, sentence in drawn.texts(split)
        ]
        for split in SPLITS
    }
    return task_of_classes(about, drawn.corpus, "texts", asked, order=names)


def bounds(values: Sequence[int], classes: int) -> list[int]:
    """The least value of each class but the first, so that each holds about as many of the values."""
    ordered = sorted(values)
    cuts = {ordered[len(ordered) * k // classes] for k in range(1, classes)}
    return sorted(cuts - {ordered[0]})


def _names(starts: Sequence[int]) -> list[str]:
    """Of the classes that begin at these values, and of what lies below."""
    if not starts:
        return ["any"]
    middle = [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(starts)]
    return [f"below {starts[0]}", *middle, f"{starts[-1]} and more"]


def content(about: About, source: Source) -> Task:
    """Which of 30 words a sentence holds; about a corpus of sentences that hold one of them, and no other.

    They are words of the middle: the rarest of those that stand in 1 of 100 sentences or more.
    """
    plenty = source.plenty
    held = Counter(word for sentence in plenty.sentences["train"] for word in bare(sentence.words))
    often = max(OFTEN * len(plenty.sentences["train"]), FEWEST)
    known = sorted((count, word) for word, count in held.items() if count >= often)
    words = {word for _, word in known[:WORDS]}
    if len(words) < 2:
        raise DataError(f"{source.name}: the task {about.name!r} needs two words that {often:g} sentences hold")
    with_one: dict[Split, list[TaggedSentence]] = {
        split: [
            TaggedSentence(sentence.words)
            for sentence in plenty.sentences[split]
            if len(words & bare(sentence.words)) == 1
        ][: source.limits[split]]
        for split in SPLITS
    }
    drawn = behind(f"{source.name}, sentences with a word", with_one)
    asked = {
        split: [Question((place(text),), *(words & bare(sentence.words))) for text, sentence in drawn.texts(split)]
        for split in SPLITS
    }
    return task_of_classes(about, drawn.corpus, "texts", asked)


def bare(words: Text) -> set[str]:
    """The words of letters alone, in small ones, without the punctuation that running text hangs on them."""
    stripped = (word.strip('.,;:!?…"“”‘()[]«»—–-').rstrip("'’").lower() for word in words)
    return {word for word in stripped if word.isalpha()}
