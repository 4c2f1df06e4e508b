"""Tag the words of a sentence: named entities, parts of speech.

words     Angela   Merkel            spoke           the first token of a word carries its tag and its answer
tokens    angela   mer  ##kel        spoke           (Devlin et al. 2019, section 5.3); the others teach nothing
targets   B-per    I-per  -100       O
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import TaggedSentence
from minitl.nn.output import Output
from minitl.tasks.bio import are_entities, repaired
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tokenization import Row, Tokenizer

log = logging.getLogger("minitl")


@dataclass(frozen=True, slots=True, eq=False)
class WordsRow:
    """Words of a sentence that fit into one row: all, or some where it is long."""

    row: Row
    starts: list[int | None]  # for each word the place of its first token; None where it has no token
    tags: list[int] | None
    sentence: int  # the sentence's place among the examples

    @property
    def length(self) -> int:
        return self.row.length


class TokenClassification(Task[TaggedSentence, WordsRow]):
    """loss = -log softmax(logits[first token])[tag], summed over the words.

    tokenizer    from `load_tokenizer`
    label_names  the tags. Where all but O begin with B- or I-, what is scored is entities, else words
    max_length   tokens of a row, special tokens included; a longer sentence is read in several rows, between words

    A finished model (`in_full`) may be measured on words with tags that it was not taught: they count as missed.
    """

    name = "token-classification"

    def __init__(self, tokenizer: Tokenizer, label_names: Sequence[str], max_length: int = 128) -> None:
        self.tokenizer = tokenizer
        self.label_names = list(label_names)
        self.max_length = max_length
        self.entities = are_entities(self.label_names)
        self.metric = "f1" if self.entities else "accuracy"
        self.finished = False
        self._index = {name: i for i, name in enumerate(self.label_names)}

    def in_full(self) -> "TokenClassification":
        full = copy.copy(self)
        full.finished = True
        return full

    def check(self, examples: Sequence[TaggedSentence], where: str) -> None:
        super().check(examples, where)
        unknown = [tag for example in examples for tag in example.tags or () if tag not in self._index]
        if unknown:
            log.warning(
                "%d words of the %s have tags that were not taught, and count as missed: %s",
                len(unknown), where, ", ".join(sorted(set(unknown))),
            )  # fmt: skip

    def check_example(self, example: TaggedSentence) -> str | None:
        if not example.words:
            return "a sentence without words"
        if example.tags is None:
            return "a sentence without tags"
        if len(example.tags) != len(example.words):
            return f"{len(example.words)} words and {len(example.tags)} tags: expected as many of each"
        unknown = next((tag for tag in example.tags if not self._may_be(tag)), None)
        return None if unknown is None else f"tag {unknown!r} is not one of {', '.join(self.label_names)}"

    def _may_be(self, tag: str) -> bool:
        """Whether it can be learnt; of a finished model, whether it can be counted: as an entity among entities."""
        return tag in self._index or (self.finished and (not self.entities or tag[:2] in ("B-", "I-", "O")))

    def is_labelled(self, example: TaggedSentence) -> bool:
        return example.tags is not None

    def encode(self, examples: Sequence[TaggedSentence]) -> list[WordsRow]:
        items = []
        whole = self.tokenizer.word_rows([sentence.words for sentence in examples], truncation=False)
        for at, (sentence, (row, word_ids)) in enumerate(zip(examples, whole, strict=True)):
            tags = None if sentence.tags is None else [self._index.get(tag, NO_TARGET) for tag in sentence.tags]
            done = 0
            for words, part, starts in self._cut(sentence.words, row, word_ids):
                items.append(WordsRow(part, starts, tags and tags[done : done + len(words)], at))
                done += len(words)
        return items

    def _cut(
        self, words: Sequence[str], row: Row, word_ids: list[int | None]
    ) -> Iterator[tuple[Sequence[str], Row, list[int | None]]]:
        """The words by rows that are not too long, each with its row, and where in it each word begins."""
        if row.length > self.max_length:
            if len(words) > 1:
                half = _middle(word_ids, len(words))
                for part in (words[:half], words[half:]):
                    ((row, word_ids),) = self.tokenizer.word_rows([part], truncation=False)
                    yield from self._cut(part, row, word_ids)
                return
            ((row, word_ids),) = self.tokenizer.word_rows([words], self.max_length)
        yield words, row, _starts(word_ids, len(words))

    def collate(self, items: Sequence[WordsRow]) -> TrainingBatch:
        """ "tags": class indices [batch, length] at the first tokens of words, NO_TARGET elsewhere."""
        inputs = self.tokenizer.pad([item.row for item in items])
        mask = inputs["attention_mask"]
        tags = torch.full_like(mask, NO_TARGET)
        for at, item in enumerate(items):
            offset = int(mask[at].argmax())  # of a row that is padded on the left
            for start, tag in zip(item.starts, item.tags or [], strict=False):
                if start is not None:
                    tags[at, offset + start] = tag
        return TrainingBatch(inputs, {"tags": tags})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        tags = targets["tags"]
        loss = F.cross_entropy(output.logits.float().flatten(0, 1), tags.flatten(), reduction="sum")
        return loss, int((tags != NO_TARGET).sum())

    def answers(self, output: Output, batch: TrainingBatch) -> list[np.ndarray]:
        """The best class of each token, without the padding."""
        assert output.logits is not None
        best, mask = output.logits.argmax(-1).cpu(), batch.inputs["attention_mask"].bool().cpu()
        return [row[real].numpy() for row, real in zip(best, mask, strict=True)]

    def predictions(self, answers: Sequence[np.ndarray], items: Sequence[WordsRow]) -> list[list[str]]:
        """A tag for each word of each sentence; entities well-formed. A word without tokens is outside of all."""
        outside = "O" if "O" in self._index else self.label_names[0]
        sentences: list[list[str]] = [[] for _ in range(1 + max((item.sentence for item in items), default=-1))]
        for answer, item in zip(answers, items, strict=True):
            sentences[item.sentence] += [
                outside if start is None else self.label_names[answer[start]] for start in item.starts
            ]
        return [repaired(tags) for tags in sentences] if self.entities else sentences

    def score(self, predictions: Sequence[Sequence[str]], examples: Sequence[TaggedSentence]) -> dict[str, float]:
        """Words' accuracy; of entities also precision, recall and F1, each found whole and of its type (CoNLL-2003)."""
        truth = [list(example.tags or ()) for example in examples]
        pairs = [(a, b) for said, true in zip(predictions, truth, strict=True) for a, b in zip(said, true, strict=True)]
        scores = {"accuracy": sum(a == b for a, b in pairs) / len(pairs)}
        if self.entities:
            from seqeval.metrics import f1_score, precision_score, recall_score

            said = [list(tags) for tags in predictions]
            for name, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                scores[name] = float(measure(truth, said, zero_division=0))
        return scores

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "labels": self.label_names, "max_length": self.max_length}


def _starts(word_ids: Sequence[int | None], count: int) -> list[int | None]:
    """Where each of `count` words begins; None where a word has no token."""
    starts: list[int | None] = [None] * count
    for place, word in enumerate(word_ids):
        if word is not None and starts[word] is None:
            starts[word] = place
    return starts


def _middle(word_ids: Sequence[int | None], count: int) -> int:
    """How many words, at least one and not all, hold about half of the tokens."""
    tokens = [word for word in word_ids if word is not None]
    return min(max(1, tokens[len(tokens) // 2]), count - 1)
