"""How words hang together: the relation of two, the depth of one, and the dependency tree whole."""

import torch

from minitl.data.treebank import depths
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Split, Task, TreeTask
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.source import Source

DEEPEST = 6


def relation(about: About, source: Source) -> Task:
    """In what relation a word hangs on its head, without subtype: two places, first the word (Tenney et al. 2019).

    The type is that of the word that hangs, as in the control task for dependency edges of Hewitt & Liang (2019).
    """
    drawn = source.parsed
    asked = {
        split: [
            Question((place(first + at), place(first + head)), _plain(sentence.deprels[at]), sentence.words[at].lower())
            for first, sentence in drawn.words(split)
            for at, head in enumerate(sentence.heads)
            if head >= 0
        ]
        for split in SPLITS
    }
    return task_of_classes(about, drawn.corpus, "words", asked)


def depth(about: About, source: Source) -> Task:
    """How many steps below the root a word hangs; from six on one class.

    Of the word, not of the sentence's tree as SentEval asks: the latter goes along with the length, which SentEval
    undoes by throwing most sentences away, and small samples do not have so many.
    """
    drawn = source.parsed
    asked = {
        split: [
            Question((place(first + at),), _step(steps), sentence.words[at].lower())
            for first, sentence in drawn.words(split)
            for at, steps in enumerate(depths(sentence.heads))
        ]
        for split in SPLITS
    }
    return task_of_classes(about, drawn.corpus, "words", asked)


def tree(about: About, source: Source) -> TreeTask:
    """The tree over each sentence's words (Hewitt & Manning 2019). Punctuation is not judged, as there.

    DataError where a split has no sentence of two words that are judged.
    """
    drawn = source.parsed
    heads, scored = [], []
    texts: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for (first, sentence), (text, _) in zip(drawn.words(split), drawn.texts(split), strict=True):
            judged = [tag != "PUNCT" for tag in sentence.upos]
            heads += [head if head < 0 else first + head for head in sentence.heads]
            scored += judged
            if sum(judged) >= 2:  # a distance takes two
                texts[split].append(text)
        if not texts[split]:
            raise DataError(f"{source.name}: the task {about.name!r} finds no {split} sentence of two words")
    splits = {split: torch.tensor(numbers) for split, numbers in texts.items()}
    return TreeTask(
        about.name, about.title, about.kind, drawn.corpus, torch.tensor(heads), torch.tensor(scored), splits
    )


def _plain(deprel: str) -> str:
    return deprel.partition(":")[0]


def _step(steps: int) -> str:
    return str(steps) if steps < DEEPEST else f"{DEEPEST} or more"
