"""What a text says: classes of texts, or of pairs of them, and how alike the two of a pair are."""

from minitl.data import Dataset, Example
from minitl.errors import DataError
from minitl.probing.task import SPLITS, Corpus, Split, Task, Text
from minitl.probing.tasks.asking import About, Question, place, task_of_classes, task_of_scores
from minitl.probing.tasks.drawing import shuffled
from minitl.probing.tasks.source import Source


def classes(about: About, source: Source) -> Task:
    """The class of a text, or of a pair. DataError where the data has no classes."""
    data = source.labelled(scores=False)
    if data.label_names is None:
        raise DataError(f"{data.origin}: the task {about.name!r} needs a column of classes, and there is none")
    corpus, taken, notes = _draw(source, data)
    names = data.label_names
    asked = {
        split: [Question(spans, names[int(example.label or 0)]) for spans, example in found]
        for split, found in taken.items()
    }
    return task_of_classes(about, corpus, "texts", asked, order=names, notes=notes)


def similarity(about: About, source: Source) -> Task:
    """The score of each pair of texts, as the data has it. DataError where it has no pairs or no scores."""
    data = source.labelled(scores=True)
    for example in (*data.train, *data.validation, *data.test):
        if example.pair is None or example.label is None:
            lacking = "second text" if example.pair is None else "score"
            raise DataError(
                f"{data.origin}: the task {about.name!r} needs pairs with a score, and there is no {lacking}"
            )
    corpus, taken, notes = _draw(source, data)
    asked = {
        split: [Question(spans, float(example.label or 0)) for spans, example in found]
        for split, found in taken.items()
    }
    return task_of_scores(about, corpus, asked, notes)


Taken = dict[Split, list[tuple[tuple[tuple[int, int], ...], Example]]]  # the places of an example's texts, and itself


def _draw(source: Source, data: Dataset[Example]) -> tuple[Corpus, Taken, tuple[str, ...]]:
    """Up to the limit of each split, in the order of the draw, and why some were left out.

    Left out are examples without words, and such of validation and test as share a text with an earlier split. A text
    that stands in several pairs is in the corpus once.
    """
    numbers: dict[Text, int] = {}
    taken: Taken = {split: [] for split in SPLITS}
    notes: tuple[str, ...] = ()
    for split, pool in shuffled(data, source.seed).items():
        earlier = len(numbers)
        shared = 0
        for example in pool:
            if len(taken[split]) == source.limits[split]:
                break
            texts = [tuple(text.split()) for text in example.texts]
            if any(numbers.get(text, earlier) < earlier for text in texts):
                shared += 1
            elif all(texts):
                spans = tuple(place(numbers.setdefault(text, len(numbers))) for text in texts)
                taken[split].append((spans, example))
        if shared:
            notes += (f"left out: {shared} {split} examples, which share a text with an earlier split",)
    return Corpus(source.name, tuple(numbers)), taken, notes
