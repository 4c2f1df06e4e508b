"""What kind of thing a span of words names: entity labelling as in edge probing (Tenney et al. 2019, section 2).

The span is given, its type is asked, as there; spans that name nothing are not asked, for most are told from names by
their first word. But where the data knows one type alone, they are the other class: as many as there are entities, of
the same lengths, in the same sentences, and neither their first nor their last word is punctuation.
"""

from collections.abc import Sequence

import torch

from minitl.data import TaggedSentence
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Split, Task
from minitl.probing.tasks.asking import About, Question, Span, task_of_classes
from minitl.probing.tasks.drawing import chosen, draw
from minitl.probing.tasks.source import Source
from minitl.tasks.bio import are_entities
from minitl.tasks.bio import entities as entities_of

NONE = "none"


def entities(about: About, source: Source) -> Task:
    """What each entity of tagged data is; the span's type is its words together. About the sentences that have some.

    DataError where the tags are none of entities (B-person, I-person, O).
    """
    tags = sorted({tag for sentence in source.tags["train"] for tag in sentence.tags or ()})
    if not are_entities(tags):
        raise DataError(f"{source.name}: the tags mark no entities (B-person, I-person, O): {', '.join(tags[:10])}")
    drawn = draw(source.name, chosen(source.tags, lambda sentence: bool(_found(sentence))), source.limits)
    one_type = len({tag[2:] for tag in tags if tag != "O"}) == 1
    asked: dict[Split, list[Question]] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(source.seed * len(SPLITS) + number)
        asked[split] = []
        for first, sentence in drawn.words(split):
            found = _found(sentence)
            if one_type:
                spans = [(begin, end) for begin, end, _ in found]
                found += [(*span, NONE) for span in others(sentence.words, spans, generator)]
            for begin, end, label in found:
                form = tuple(word.lower() for word in sentence.words[begin:end])
                asked[split].append(Question(((first + begin, first + end),), label, form))
    return task_of_classes(about, drawn.corpus, "words", asked)


def _found(sentence: TaggedSentence) -> list[tuple[int, int, str]]:
    return entities_of(sentence.tags or ())


def others(words: Sequence[str], entities: Sequence[Span], generator: torch.Generator) -> list[Span]:
    """For each entity another span of its length, drawn, where there is one. No two of all share a word."""
    free = [True] * len(words)
    for begin, end in entities:
        free[begin:end] = [False] * (end - begin)
    says = [any(map(str.isalnum, word)) for word in words]
    drawn = []
    for length in (end - begin for begin, end in entities):
        places = [
            begin
            for begin in range(len(words) - length + 1)
            if all(free[begin : begin + length]) and says[begin] and says[begin + length - 1]
        ]
        if places:
            begin = places[int(torch.randint(len(places), (), generator=generator))]
            free[begin : begin + length] = [False] * length
            drawn.append((begin, begin + length))
    return drawn
