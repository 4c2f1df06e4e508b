"""What a word is: its part of speech, its morphological features, or the tag that data of one's own gives it."""

from collections.abc import Callable
from typing import TypeVar

from minitl.data import ParsedSentence
from minitl.probing.task import SPLITS, Task
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import Drawn, Sentence
from minitl.probing.tasks.source import Source

S = TypeVar("S", bound=Sentence)


def part_of_speech(about: About, source: Source) -> Task:
    """The universal part of speech of each word that has one."""
    return _of_words(about, source.parsed, lambda sentence, at: sentence.upos[at] if sentence.upos[at] != "_" else "")


def number(about: About, source: Source) -> Task:
    """The grammatical number of the words that have one: Sing, Plur …"""
    return _of_words(about, source.parsed, _feature("Number"))


def tense(about: About, source: Source) -> Task:
    """The tense of the words that have one: Past, Pres …"""
    return _of_words(about, source.parsed, _feature("Tense"))


def tags(about: About, source: Source) -> Task:
    """The tag of each word: of a CoNLL file the last column."""
    return _of_words(about, source.tagged, lambda sentence, at: (sentence.tags or ())[at])


def _feature(name: str) -> Callable[[ParsedSentence, int], str]:
    return lambda sentence, at: sentence.feats[at].get(name, "")


def _of_words(about: About, drawn: Drawn[S], answer: Callable[[S, int], str]) -> Task:
    """Of each word that has an answer; its type is its form in small letters."""
    asked = {
        split: [
            Question((place(first + at),), label, written.lower())
            for first, sentence in drawn.words(split)
            for at, written in enumerate(sentence.words)
            if (label := answer(sentence, at))
        ]
        for split in SPLITS
    }
    return task_of_classes(about, drawn.corpus, "words", asked)
