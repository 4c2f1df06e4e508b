"""What a probing task asks: texts, places in them, and what a probe is to tell from the vectors of these places.

    Corpus      texts, read once for all tasks about them        ─ features ─► a vector a layer for each word and text
    Examples    places in the corpus, and the label of each      ─┐
    Task        Examples for training, validation and test, k places an example
    TreeTask    the tree over each text's words, whole

Words are counted through all texts of a corpus: word w of text t is number `corpus.starts[t] + w`. A place is a span of
them, [begin, end), or in tasks about whole texts a span of texts (of one text, all in all).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Text = tuple[str, ...]  # words, as a treebank parts them, or as white space does
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Kind = Literal["form", "syntax", "semantics", "task"]  # of knowledge


@dataclass(frozen=True)
class Corpus:
    """Texts, each a tuple of words; `name` says which, for people."""

    name: str
    texts: tuple[Text, ...]

    @cached_property
    def starts(self) -> Tensor:
        """The number of each text's first word, and at the end that of all words: [texts + 1]."""
        counts = torch.tensor([0, *map(len, self.texts)])
        return counts.cumsum(0)


@dataclass(frozen=True)
class Examples:
    """n questions.

    spans    integers [n, k, 2]: where the k places of each begin and end
    labels   integers [n], an index into the task's labels, or float32 [n], a score
    kinds    integers [n], or None: the type of the word at the place, by which a control task draws its labels
             (Hewitt & Liang 2019, section 2.1); None where the idea makes no sense, as for whole texts
    """

    spans: Tensor
    labels: Tensor
    kinds: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A question with one answer for each example.

    name     as it is called on the command line: "pos"
    title    as the report calls it: "part of speech"
    kind     what kind of knowledge it is, as the guide parts them: a row of its table of layers
    reads    whether spans are of words or of texts
    labels   the names of the classes; None where the answer is a score
    notes    what was left out of the data, and how often, in words
    """

    name: str
    title: str
    kind: Kind
    corpus: Corpus
    reads: Literal["words", "texts"]
    labels: tuple[str, ...] | None
    splits: Mapping[Split, Examples]
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """How many places an example has: 1, or 2 for the relation of two."""
        return int(self.splits["train"].spans.shape[1])


@dataclass(frozen=True)
class TreeTask:
    """The dependency tree over each text's words (Hewitt & Manning 2019).

    heads    integers [words of the corpus]: the number of the word that each hangs on, -1 for a root
    scored   bool [words of the corpus]: those that are judged; punctuation is not
    splits   which texts are for what: integers [texts of the split]
    """

    name: str
    title: str
    kind: Kind
    corpus: Corpus
    heads: Tensor
    scored: Tensor
    splits: Mapping[Split, Tensor]
