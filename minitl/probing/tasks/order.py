"""Bigram shift: are the words in their order, or were two neighbours swapped? (Conneau et al. 2018, section 2)"""

import torch

from minitl.data import TaggedSentence
from minitl.probing.task import SPLITS, Split, Task, Text
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import behind
from minitl.probing.tasks.source import Source

LABELS = ("in order", "swapped")


def bigram_shift(about: About, source: Source) -> Task:
    """Whether two words were swapped, which they are in every other sentence; about a corpus of its own.

    Two that differ, with letters or digits; not the first word, which its capital letter would give away. Sentences
    without two such words are not asked.
    """
    drawn = source.plain
    shifted: dict[Split, list[TaggedSentence]] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(source.seed * len(SPLITS) + number)
        texts = [sentence.words for sentence in drawn.sentences[split] if pairs(sentence.words)]
        shifted[split] = [TaggedSentence(swap(text, generator) if at % 2 else text) for at, text in enumerate(texts)]
    made = behind(f"{source.name}, words swapped", shifted)
    asked = {
        split: [Question((place(text),), LABELS[at % 2]) for at, (text, _) in enumerate(made.texts(split))]
        for split in SPLITS
    }
    return task_of_classes(about, made.corpus, "texts", asked)


def pairs(words: Text) -> list[int]:
    """Which words can be swapped with the next one."""
    plain = ["".join(filter(str.isalnum, word)).lower() for word in words]
    return [at for at in range(1, len(words) - 1) if plain[at] and plain[at + 1] and plain[at] != plain[at + 1]]


def swap(words: Text, generator: torch.Generator) -> Text:
    """The same words, but for one of `pairs`, drawn, which changes places with the next."""
    places = pairs(words)
    at = places[int(torch.randint(len(places), (), generator=generator))]
    return (*words[:at], words[at + 1], words[at], *words[at + 2 :])
