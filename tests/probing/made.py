"""Representations, tasks and trees that are made, not read."""

import itertools

import torch

from minitl.probing.material import gather
from minitl.probing.probes import Linear
from minitl.probing.representations import Representations, Shard
from minitl.probing.sweep import sweep
from minitl.probing.task import Corpus, Examples, Task, TreeTask
from minitl.probing.vectors import ROOM

SPLITS = ("train", "validation", "test")


def corpus_of(lengths):
    return Corpus("made", tuple(tuple(f"w{i}" for i in range(n)) for n in lengths))


def representations_of(words, lengths, shards=1, unread=()):
    """`words` [layers, words, hidden] over texts of these lengths; a text's vector is the mean of its words'."""
    corpus = corpus_of(lengths)
    texts = torch.stack([part.mean(1) for part in words.split(list(lengths), dim=1)], dim=1)
    cuts = [len(lengths) * i // shards for i in range(shards + 1)]
    parts = [Shard(words[:, corpus.starts[a] : corpus.starts[b]], texts[:, a:b]) for a, b in itertools.pairwise(cuts)]
    return Representations(corpus, tuple(range(len(words))), words.shape[-1], parts, tuple(unread))


def word_task(corpus, labels, names=("a", "b"), kinds=None, shares=(0.6, 0.2), places=1):
    """One example a word, or a word and the next; the words are cut into splits in their order."""
    n = len(labels)
    at = torch.arange(n)
    spans = torch.stack([torch.stack([at, at + 1], -1)] * places, 1)
    ends = [0, int(shares[0] * n), int((shares[0] + shares[1]) * n), n]
    splits = {
        split: Examples(spans[a:b], labels[a:b], None if kinds is None else kinds[a:b])
        for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)
    }
    return Task("made", "a made task", "form", corpus, "words", names, splits)


def tree_task(corpus, heads, texts, scored=None):
    """`texts`: how many for each split, in order."""
    scored = torch.ones(len(heads), dtype=torch.bool) if scored is None else scored
    ends = torch.tensor([0, *texts]).cumsum(0).tolist()
    splits = {s: torch.arange(a, b) for s, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
    return TreeTask("tree", "a made tree", "syntax", corpus, heads, scored, splits)


def swept(representations, task, probe=None, room=ROOM, **options):
    """The curve of a task in representations."""
    probe = Linear() if probe is None else probe
    return sweep(gather(representations, task, probe.reads, room), probe, **options)
