"""Learn what is preferred (Ouyang et al. 2022, equation 1): a score for a text, higher for the better of two.

chosen    prompt + completion ─ model ─► r_c ─┐
                                              ├─ -log sigmoid(r_c - r_r)     (Bradley & Terry 1952)
rejected  prompt + completion ─ model ─► r_r ─┘
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Preference
from minitl.nn.output import Output
from minitl.tasks.instruction import check_template, filled
from minitl.tasks.task import Task, TrainingBatch
from minitl.tokenization import Row, Tokenizer

log = logging.getLogger("minitl")

Scores = tuple[float, float]  # of the chosen and of the rejected completion


@dataclass(frozen=True, slots=True, eq=False)
class RowPair:
    """The two texts of a preference."""

    chosen: Row
    rejected: Row

    @property
    def length(self) -> int:
        return max(self.chosen.length, self.rejected.length)


class RewardModel(Task[Preference, RowPair]):
    """loss = -log sigmoid(r(chosen) - r(rejected)), summed over the pairs; a head of one output.

    tokenizer    from `load_tokenizer`
    max_length   tokens after which a text is cut, special tokens included
    template     what is read of a prompt, with the slot {prompt}; the completion follows
    """

    name = "sequence-classification"
    metric = "accuracy"
    redraws = True  # two rows an item

    def __init__(self, tokenizer: Tokenizer, max_length: int = 128, template: str = "{prompt}") -> None:
        check_template(template)
        self.tokenizer, self.max_length, self.template = tokenizer, max_length, template

    def check_example(self, example: Preference) -> str | None:
        return check_preference(example)

    def is_labelled(self, example: Preference) -> bool:  # noqa: ARG002
        return True

    def encode(self, examples: Sequence[Preference]) -> list[RowPair]:
        prompts = [filled(self.template, example.prompt) for example in examples]
        rows = [
            self.tokenizer.rows([p + c for p, c in zip(prompts, completions, strict=True)], max_length=self.max_length)
            for completions in ([example.chosen for example in examples], [example.rejected for example in examples])
        ]
        pairs = [RowPair(chosen, rejected) for chosen, rejected in zip(*rows, strict=True)]
        alike = sum(np.array_equal(pair.chosen.ids, pair.rejected.ids) for pair in pairs)
        if alike:
            log.warning(
                "%d of %d pairs are the same in their first %d tokens (max_length): nothing is learnt from them",
                alike,
                len(pairs),
                self.max_length,
            )
        return pairs

    def collate(self, items: Sequence[RowPair]) -> TrainingBatch:
        """The chosen texts, then the rejected ones: [2 · items, length]."""
        return TrainingBatch(self.tokenizer.pad([i.chosen for i in items] + [i.rejected for i in items]), {})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:  # noqa: ARG002
        chosen, rejected = _scores(output)
        return -F.logsigmoid(chosen - rejected).sum(), len(chosen)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Scores]:  # noqa: ARG002
        chosen, rejected = _scores(output)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))

    def score(self, predictions: Sequence[Scores], examples: Sequence[Preference]) -> dict[str, float]:  # noqa: ARG002
        """accuracy, from 0 to 1, and the mean margin."""
        return {"accuracy": preferred(predictions), "margin": margin(predictions)}

    def describe(self) -> dict[str, Any]:
        return {"task": "reward", "max_length": self.max_length, "template": self.template}


def _scores(output: Output) -> tuple[Tensor, Tensor]:
    """Of the chosen and of the rejected texts, each [pairs], float32."""
    assert output.logits is not None
    chosen, rejected = output.logits.float()[:, 0].chunk(2)
    return chosen, rejected


def check_preference(example: Preference) -> str | None:
    """Why the pair cannot be learnt from, or None."""
    if not (example.chosen and example.rejected):
        return "a completion is empty"
    return "both completions are the same" if example.chosen == example.rejected else None


def preferred(scores: Sequence[Scores]) -> float:
    """The share of pairs whose chosen completion scores higher; a tie, which says nothing, is half a hit."""
    hits = [1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0 for chosen, rejected in scores]
    return sum(hits) / max(1, len(hits))


def margin(scores: Sequence[Scores]) -> float:
    """By how much the chosen completion scores higher, on average."""
    return sum(chosen - rejected for chosen, rejected in scores) / max(1, len(scores))
