"""Answer instructions (Ouyang et al. 2022, section 3.1): prompts with completions, of which only the latter teach.

row       p p p c c c E  p p c c c c E  p c E        several in a row, as many as fit
texts     0 0 0 0 0 0 0  1 1 1 1 1 1 1  2 2 2        none looks into another
places    0 1 2 3 4 5 6  0 1 2 3 4 5 6  0 1 2        each begins anew
targets   - - c c c E -  - c c c c E -  c E -        what comes next, where it is the completion's
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minitl.data import Example
from minitl.errors import InputError
from minitl.tasks.likelihood import Likelihood
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Row, Tokenizer

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Prompts and completions in one row: their ids and what each token is to say next, one array a text."""

    texts: tuple[tuple[Ids, Ids], ...]

    @property
    def length(self) -> int:
        return sum(len(ids) for ids, _ in self.texts)


class Instruction(Likelihood[Told]):
    """loss = -log softmax(logits[t])[token t + 1], summed over the tokens of completions and the ends after them.

    tokenizer    from `load_tokenizer`, with an end token
    max_length   tokens of a row; of a longer prompt and completion the prompt's beginning is cut off, then the
                 completion's end
    template     what is read of a prompt, with the slot {prompt}; an `Example`'s text is the prompt, its pair what
                 completes it
    packed       whether several share a row; for models whose `family.inputs` have "text_ids"
    """

    name = "causal-lm"

    def __init__(
        self, tokenizer: Tokenizer, max_length: int = 512, template: str = "{prompt}\n", packed: bool = True
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError("this tokenizer has no end token, by which a completion could end")
        check_template(template)
        check_room(max_length)
        self.tokenizer, self.end = tokenizer, tokenizer.eos_token_id
        self.max_length, self.template, self.packed = max_length, template, packed

    def check_example(self, example: Example) -> str | None:
        return None if example.pair else "a prompt without completion"

    def is_labelled(self, example: Example) -> bool:
        return example.pair is not None

    def encode(self, examples: Sequence[Example]) -> list[Told]:
        prompts = [row for row, _ in self.tokenizer.bare_rows([self.asked(example.text) for example in examples])]
        answers = [row for row, _ in self.tokenizer.bare_rows([example.pair or "" for example in examples])]
        texts = [self._text(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        if not self.packed:
            return [Told((text,)) for text in texts]
        return [Told(tuple(texts[i] for i in row)) for row in packed([len(ids) for ids, _ in texts], self.max_length)]

    def asked(self, text: str) -> str:
        """What is read of a prompt."""
        return filled(self.template, text)

    def _text(self, prompt: Ids, answer: Ids) -> tuple[Ids, Ids]:
        """The ids of one prompt with its completion, and the targets."""
        answer = np.append(answer[: self.max_length - 2], np.int32(self.end))  # room for the end, and one token before
        prompt = prompt[-(self.max_length - len(answer)) :]
        start = self.tokenizer.bos_token_id
        if start is not None and len(prompt) + len(answer) < self.max_length:
            prompt = np.insert(prompt, 0, start)
        return completed(prompt, answer)

    def collate(self, items: Sequence[Told]) -> TrainingBatch:
        """ "tokens" [batch, length]: what each token is to say next, NO_TARGET in prompts and padding."""
        rows = [Row(np.concatenate([ids for ids, _ in item.texts])) for item in items]
        batch = self.tokenizer.pad(rows)
        real = batch["attention_mask"].bool()
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        tokens = torch.full_like(inputs["input_ids"], NO_TARGET)
        tokens[real] = torch.from_numpy(np.concatenate([t for item in items for _, t in item.texts]).astype(np.int64))
        if self.packed:
            lengths = [[len(ids) for ids, _ in item.texts] for item in items]
            numbers = [np.repeat(np.arange(len(row)), row) for row in lengths]
            places = [np.concatenate([np.arange(n) for n in row]) for row in lengths]
            for name, values, filler in (("text_ids", numbers, -1), ("position_ids", places, 0)):
                inputs[name] = torch.full_like(inputs["input_ids"], filler)
                inputs[name][real] = torch.from_numpy(np.concatenate(values))
        return TrainingBatch(inputs, {"tokens": tokens})

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "template", "packed")
        return {"task": "instruction", **{name: getattr(self, name) for name in names}}


def check_template(template: str) -> None:
    """InputError unless there is one place for the prompt."""
    if template.count("{prompt}") != 1:
        raise InputError(f"template must hold the slot {{prompt}} once, got {template!r}")


def check_room(max_length: int | None) -> None:
    """InputError unless a token of the prompt, one of the completion and its end have room; None is as usual."""
    if max_length is not None and max_length < 3:
        raise InputError(f"max_length must be at least 3, of the prompt, the completion and its end: got {max_length}")


def filled(template: str, prompt: str) -> str:
    """The template with the prompt in its slot; other braces in either are but characters."""
    before, after = template.split("{prompt}")
    return before + prompt + after


def completed(prompt: Ids, answer: Ids) -> tuple[Ids, Ids]:
    """The ids of a prompt with its completion, and what each is to say next: NO_TARGET where that is the prompt's."""
    ids = np.concatenate((prompt, answer)).astype(np.int32)
    targets = np.full(len(ids), NO_TARGET, dtype=np.int32)
    first = max(len(prompt) - 1, 0)  # the prompt's last token says the completion's first
    targets[first : len(ids) - 1] = ids[first + 1 :]
    return ids, targets


def packed(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which texts share a row of `room` tokens: the longest first, each into the fullest row that has a place for it
    (best-fit decreasing, Johnson 1973, which needs at most 11/9 of the fewest rows)."""
    rows: list[list[int]] = []
    by_room: list[tuple[int, int]] = []  # the room left of each row and its number, sorted
    for text in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect.bisect_left(by_room, (lengths[text], -1))
        if at == len(by_room):
            rows.append([text])
            left, row = room - lengths[text], len(rows) - 1
        else:
            left, row = by_room.pop(at)
            rows[row].append(text)
            left -= lengths[text]
        bisect.insort(by_room, (left, row))
    return rows
