"""What a task must be before a probe is trained on it, and which of its examples have vectors."""

from dataclasses import replace

import torch
from torch import Tensor

from minitl.errors import DataError, InputError
from minitl.probing.representations import Representations
from minitl.probing.task import SPLITS, Corpus, Examples, Split, Task


def check_task(task: Task) -> None:
    """DataError, naming task and split: a split absent or empty, shapes that do not fit together, a place outside the
    corpus or across texts, a label out of range or a score that is no number, a training split of one class alone."""
    for split in SPLITS:
        where = f"task {task.name!r}, {split} split"
        if split not in task.splits or len(task.splits[split]) == 0:
            raise DataError(f"{where}: it has no examples")
        _check_examples(task, task.splits[split], where)
    labels = task.splits["train"].labels
    if task.labels is not None:
        present = labels.unique()
        if len(present) < 2:
            one = task.labels[int(present[0])]
            raise DataError(
                f"task {task.name!r}: its training split has one class alone, {one!r}: nothing to tell apart"
            )
    elif bool((labels == labels[0]).all()):
        raise DataError(f"task {task.name!r}: all scores of its training split are {float(labels[0]):g}")


def _check_examples(task: Task, examples: Examples, where: str) -> None:
    spans, labels, kinds = examples.spans, examples.labels, examples.kinds
    if spans.dim() != 3 or spans.shape[0] != len(labels) or spans.shape[1] not in (1, 2) or spans.shape[2] != 2:
        raise DataError(f"{where}: spans must be [{len(labels)}, 1 or 2, 2], got {list(spans.shape)}")
    if spans.shape[1] != task.places:
        raise DataError(f"{where}: {spans.shape[1]} places an example, and {task.places} in the training split")
    if spans.is_floating_point() or labels.shape != (len(labels),):
        raise DataError(f"{where}: spans must be integers and labels [examples]")
    count = int(task.corpus.starts[-1]) if task.reads == "words" else len(task.corpus.texts)
    wrong = (spans[..., 0] < 0) | (spans[..., 1] > count) | (spans[..., 0] >= spans[..., 1])
    if wrong.any():
        at = int(wrong.any(-1).nonzero()[0])
        raise DataError(
            f"{where}, example {at}: place {spans[at].tolist()} is not within the {count} {task.reads} of the corpus"
        )
    if task.reads == "words":
        across = (_text_of(task.corpus, spans[..., 0]) != _text_of(task.corpus, spans[..., 1] - 1)).any(-1)
        if across.any():
            at = int(across.nonzero()[0])
            raise DataError(f"{where}, example {at}: place {spans[at].tolist()} goes across two texts")
    _check_labels(task, labels, where)
    if kinds is not None and (kinds.shape != labels.shape or kinds.is_floating_point()):
        raise DataError(f"{where}: kinds must be integers [{len(labels)}], got {kinds.dtype} {list(kinds.shape)}")


def _check_labels(task: Task, labels: Tensor, where: str) -> None:
    if task.labels is None:
        if not labels.is_floating_point() or not bool(labels.isfinite().all()):
            raise DataError(f"{where}: scores must be finite float32, got {labels.dtype}")
        return
    if labels.is_floating_point():
        raise DataError(f"{where}: labels must be integers, got {labels.dtype}")
    wrong = (labels < 0) | (labels >= len(task.labels))
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise DataError(f"{where}, example {at}: label {int(labels[at])}, where there are {len(task.labels)} labels")


def check_corpus(representations: Representations, corpus: Corpus, name: str) -> None:
    """InputError where the vectors are of other texts than the task `name` is about."""
    read = representations.corpus
    if read is not corpus and read.texts != corpus.texts:
        raise InputError(
            f"task {name!r} is about {corpus.name}, and the representations are of {read.name}: other texts"
        )


def answerable(representations: Representations, task: Task) -> tuple[dict[Split, Examples], dict[Split, int]]:
    """The examples whose places have vectors, and how many of each split have none. DataError: a split without any."""
    kept: dict[Split, Examples] = {}
    left_out: dict[Split, int] = {}
    for split, examples in ((split, task.splits[split]) for split in SPLITS):
        fine = representations.readable[texts_of(task, examples.spans)].all(-1)
        left_out[split] = int((~fine).sum())
        if not fine.any():
            raise DataError(f"task {task.name!r}, {split} split: none of its texts could be read")
        kept[split] = some(examples, fine)
    return kept, left_out


def some(examples: Examples, chosen: Tensor) -> Examples:
    """The examples that `chosen` names, by numbers or as a mask."""
    kinds = None if examples.kinds is None else examples.kinds[chosen]
    return replace(examples, spans=examples.spans[chosen], labels=examples.labels[chosen], kinds=kinds)


def texts_of(task: Task, spans: Tensor) -> Tensor:
    """Which text each place is in: [n, places, 2] -> [n, places]. A place of several texts counts with its first."""
    return spans[..., 0] if task.reads == "texts" else _text_of(task.corpus, spans[..., 0])


def _text_of(corpus: Corpus, words: Tensor) -> Tensor:
    return torch.searchsorted(corpus.starts, words.contiguous(), right=True) - 1
