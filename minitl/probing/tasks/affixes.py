"""How a word is spelt: the letters that it begins or ends with.

A probe that has seen a word knows its letters by heart, so no word form is in two splits: the forms of validation and
test are new, and what is asked is whether spelling can be read off the vector of any word. Each form is asked once, or
the frequent ones would be most of the answer. So there is no control task either (Hewitt & Liang 2019), which is about
word forms that training has seen.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import torch

from minitl.probing.task import SPLITS, Split, Task
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import Drawn
from minitl.probing.tasks.source import Source

LETTERS = 2
SHORTEST = 5  # letters of a word that is asked: most of it is not the answer
CLASSES = 20  # the endings, or beginnings, of most training forms


def prefix(about: About, source: Source) -> Task:
    """The first two letters of a word of five or more, where they are among the twenty most frequent."""
    return _affix(about, source, lambda form: form[:LETTERS])


def suffix(about: About, source: Source) -> Task:
    """The last two letters of a word of five or more, where they are among the twenty most frequent."""
    return _affix(about, source, lambda form: form[-LETTERS:])


def _affix(about: About, source: Source, cut: Callable[[str], str]) -> Task:
    drawn = source.plain
    places = forms(drawn, source.seed)
    counts = Counter(cut(form) for form in places["train"])
    frequent = {affix for affix, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CLASSES]}
    asked = {
        split: [Question((place(at),), cut(form)) for form, at in found.items() if cut(form) in frequent]
        for split, found in places.items()
    }
    return task_of_classes(about, drawn.corpus, "words", asked)


def forms(drawn: Drawn, seed: int) -> dict[Split, dict[str, int]]:
    """The word forms of each split, in small letters, and where each stands first in its texts, in their order.

    A form that stands in the texts of several splits is given to one of them, drawn with `seed`.
    """
    found = {split: _first_places(drawn, split) for split in SPLITS}
    generator = torch.Generator().manual_seed(seed)
    given: dict[Split, dict[str, int]] = {split: {} for split in SPLITS}
    for form in sorted(set().union(*found.values())):
        holders = [split for split in SPLITS if form in found[split]]
        split = holders[int(torch.randint(len(holders), (), generator=generator))]
        given[split][form] = found[split][form]
    return {split: dict(sorted(places.items(), key=lambda item: item[1])) for split, places in given.items()}


def _first_places(drawn: Drawn, split: Split) -> Mapping[str, int]:
    places: dict[str, int] = {}
    for first, sentence in drawn.words(split):
        for at, written in enumerate(sentence.words, start=first):
            if len(written) >= SHORTEST and written.isalpha():
                places.setdefault(written.lower(), at)
    return places
