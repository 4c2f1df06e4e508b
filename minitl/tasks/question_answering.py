"""Find in a text what answers a question (Rajpurkar et al. 2016; Devlin et al. 2019, sections 4.2 and 4.3).

    [CLS] question [SEP] … text, part by part … [SEP]        a long text is read in windows that overlap

    score of a span i … j = start[i] + end[j]                no answer = start[0] + end[0], the row's first token

The best span of all windows answers; or none of them, where the questions may have no answer and that scores higher.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Question
from minitl.nn.output import Output
from minitl.tasks.task import Task, TrainingBatch
from minitl.tokenization import Tokenizer, Window

CANDIDATES = 20  # the best starts and the best ends of a window, of which spans are made
Scores = npt.NDArray[np.float32]  # [2, tokens]: of starting and of ending there


@dataclass(frozen=True, slots=True, eq=False)
class QuestionWindow:
    """A window, and where in its row the answer begins and ends; the row's first token where it holds none."""

    window: Window
    start: int
    end: int
    question: Question
    place: int  # of the question among the examples

    @property
    def length(self) -> int:
        return self.window.row.length


@dataclass(frozen=True)
class Answer:
    """What the model found: "" where it holds no answer the best.

    start      the first character in the text; -1 where there is none
    score      of the best span
    no_answer  of there being none, least over the windows
    """

    text: str
    start: int
    score: float
    no_answer: float


class QuestionAnswering(Task[Question, QuestionWindow]):
    """loss = -(log softmax(start)[i] + log softmax(end)[j]) / 2, summed over the windows; padding has no share.

    tokenizer    from `load_tokenizer`
    max_length   tokens of a window, with question and special tokens
    overlap      tokens of the text that neighbouring windows share
    longest      tokens of the longest answer
    may_be_none  whether a question may have no answer (SQuAD 2.0)
    """

    name = "question-answering"
    metric = "f1"

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int = 384,
        overlap: int = 128,
        longest: int = 30,
        may_be_none: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length, self.overlap, self.longest, self.may_be_none = max_length, overlap, longest, may_be_none

    def check_example(self, example: Question) -> str | None:
        if example.answers is None:
            return f"question {example.id!r} is not labelled"
        if not example.answers and not self.may_be_none:
            return f"question {example.id!r} has no answer: say may_be_none"
        for text, start in example.answers:
            if start < 0 or example.context[start : start + len(text)] != text:
                return f"question {example.id!r}: the answer {text!r} is not at its offset {start}"
        return None

    def is_labelled(self, example: Question) -> bool:
        return example.answers is not None

    def encode(self, examples: Sequence[Question]) -> list[QuestionWindow]:
        questions, texts = [example.question.lstrip() for example in examples], [e.context for e in examples]
        windows = self.tokenizer.windows(questions, texts, self.max_length, self.overlap) if examples else []
        return [
            QuestionWindow(window, *_span(window, example), example, place)
            for place, (example, parts) in enumerate(zip(examples, windows, strict=True))
            for window in parts
        ]

    def collate(self, items: Sequence[QuestionWindow]) -> TrainingBatch:
        """ "start" and "end": places [batch]; "mask" [batch, length]: the tokens that may be either."""
        inputs = self.tokenizer.pad([item.window.row for item in items])
        mask = inputs["attention_mask"]
        shift = mask.argmax(-1)  # of rows that are padded on the left
        start, end = (torch.tensor([getattr(item, name) for item in items]) + shift for name in ("start", "end"))
        return TrainingBatch(inputs, {"start": start, "end": end, "mask": mask.bool()})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        total = torch.zeros((), device=targets["start"].device)
        for logits, name in ((output.start_logits, "start"), (output.end_logits, "end")):
            assert logits is not None
            readable = logits.float().masked_fill(~targets["mask"], -torch.inf)
            total = total + F.cross_entropy(readable, targets[name], reduction="sum") / 2
        return total, len(targets["start"])

    def answers(self, output: Output, batch: TrainingBatch) -> list[Scores]:
        """The scores of each window's tokens, without the padding."""
        assert output.start_logits is not None
        assert output.end_logits is not None
        scores = torch.stack((output.start_logits, output.end_logits), dim=1).float().cpu()  # [batch, 2, length]
        return [row[:, real].numpy() for row, real in zip(scores, batch.targets["mask"].cpu(), strict=True)]

    def predictions(self, answers: Sequence[Scores], items: Sequence[QuestionWindow]) -> list[Answer]:
        """An answer to each question."""
        found: dict[int, Answer] = {}
        for scores, item in zip(answers, items, strict=True):
            none = float(scores[0, 0] + scores[1, 0])
            best = _best_span(scores, item.window, self.longest)
            answer = Answer("", -1, -np.inf, none)
            if best is not None:
                score, first, last = best
                answer = Answer(item.question.context[first:last], first, score, none)
            before = found.get(item.place)
            if before is not None:
                winner = max(before, answer, key=lambda one: one.score)
                answer = Answer(winner.text, winner.start, winner.score, min(before.no_answer, none))
            found[item.place] = answer
        return [self._decided(found[place]) for place in sorted(found)]

    def _decided(self, answer: Answer) -> Answer:
        if self.may_be_none and answer.no_answer > answer.score:
            return Answer("", -1, answer.score, answer.no_answer)
        return answer

    def score(self, predictions: Sequence[Answer], examples: Sequence[Question]) -> dict[str, float]:
        """Exact match and F1 of words, 0 to 1, each against the answer that it agrees with best (`word_f1`)."""
        exact, f1 = [], []
        for said, example in zip(predictions, examples, strict=True):
            truths = [text for text, _ in example.answers or ()] or [""]
            exact.append(max(float(normalized(said.text) == normalized(truth)) for truth in truths))
            f1.append(max(word_f1(said.text, truth) for truth in truths))
        return {"exact_match": sum(exact) / len(exact), "f1": sum(f1) / len(f1)}

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "overlap", "longest", "may_be_none")
        return {"task": self.name, **{name: getattr(self, name) for name in names}}


def normalized(text: str) -> str:
    """Lower case, without punctuation, English articles and surplus space: how SQuAD compares answers (section 5)."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def word_f1(said: str, truth: str) -> float:
    """Harmonic mean of the shares of words of either that the other has; where one has none, whether both have none."""
    mine, theirs = normalized(said).split(), normalized(truth).split()
    if not mine or not theirs:
        return float(mine == theirs)
    common = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * common / (len(mine) + len(theirs))


def _span(window: Window, example: Question) -> tuple[int, int]:
    """Places of the first and the last token of the answer; (0, 0) where the window does not hold all of it."""
    if not example.answers or not len(window.offsets):
        return 0, 0
    text, first = example.answers[0]
    last = first + len(text)
    begins, ends = window.offsets[:, 0], window.offsets[:, 1]
    if begins[0] > first or ends[-1] < last:
        return 0, 0
    start = int(np.searchsorted(ends, first, side="right"))  # the first token that ends beyond where the answer begins
    end = int(np.searchsorted(begins, last, side="left")) - 1  # the last token that begins before it ends
    return (window.first + start, window.first + end) if start <= end else (0, 0)


def _best_span(scores: Scores, window: Window, longest: int) -> tuple[float, int, int] | None:
    """The best span of the text within a window: (score, first character, last); None where there is no text."""
    count = len(window.offsets)
    if not count:
        return None
    starts, ends = scores[:, window.first : window.first + count]
    likely = np.argsort(-starts)[:CANDIDATES], np.argsort(-ends)[:CANDIDATES]
    totals = starts[likely[0]][:, None] + ends[likely[1]][None, :]
    tokens = likely[1][None, :] - likely[0][:, None] + 1
    totals[(tokens < 1) | (tokens > longest)] = -np.inf
    i, j = np.unravel_index(int(totals.argmax()), totals.shape)
    if not np.isfinite(totals[i, j]):  # no likely end follows a likely start: the likeliest token alone
        at = int((starts + ends).argmax())
        return float(starts[at] + ends[at]), int(window.offsets[at, 0]), int(window.offsets[at, 1])
    return float(totals[i, j]), int(window.offsets[likely[0][i], 0]), int(window.offsets[likely[1][j], 1])
