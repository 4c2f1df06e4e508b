"""Direct preference optimisation (Rafailov et al. 2023, "Direct Preference Optimization", equation 7).

chosen    x y_c ─ policy ─► log pi(y_c | x) ─ - log pi_ref(y_c | x) ─┐ · beta
                                                                     ├─ -log sigmoid(difference)
rejected  x y_r ─ policy ─► log pi(y_r | x) ─ - log pi_ref(y_r | x) ─┘ · beta

The reference does not learn: its share of the loss is computed once, ahead of the loop, and rides along as a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example, Preference, batches_by_length
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.instruction import Told
from minitl.tasks.policy import PolicyTask, token_log_probs
from minitl.tasks.reward import Scores, check_preference, margin, preferred
from minitl.tasks.task import TrainingBatch
from minitl.tokenization import Tokenizer

BATCH = 64  # rows that the reference reads at once


@dataclass(frozen=True, slots=True, eq=False)
class ToldPair:
    """A prompt with either completion, and log pi_ref(y | x) of the chosen and the rejected one."""

    chosen: Told
    rejected: Told
    reference: tuple[float, float]

    @property
    def length(self) -> int:
        return max(self.chosen.length, self.rejected.length)


class DPO(PolicyTask[Preference, ToldPair]):
    """loss = -log sigmoid(beta · (log pi/pi_ref (chosen) - log pi/pi_ref (rejected))), summed over the pairs.

    Options as in `PolicyTask`. What the reference says is computed in float32 where the weights are; under autocast
    the policy rounds, and the loss begins near log 2 rather than at it. InputError: a beta that is not above 0.
    """

    metric = "accuracy"
    redraws = True  # two rows an item

    def __init__(
        self,
        tokenizer: Tokenizer,
        policy: Model,
        max_length: int = 512,
        template: str = "{prompt}",
        beta: float = 0.1,
        reference: Model | None = None,
    ) -> None:
        if not beta > 0:
            raise InputError(f"beta must be above 0, got {beta}")
        super().__init__(tokenizer, policy, max_length, template, beta, reference)

    def check_example(self, example: Preference) -> str | None:
        return check_preference(example)

    def is_labelled(self, example: Preference) -> bool:  # noqa: ARG002
        return True

    def encode(self, examples: Sequence[Preference]) -> list[ToldPair]:
        """Tokenise, and ask the reference."""
        chosen = self.told.encode([Example(example.prompt, example.chosen) for example in examples])
        rejected = self.told.encode([Example(example.prompt, example.rejected) for example in examples])
        said = self._expected([*chosen, *rejected])
        pairs = zip(said[: len(chosen)], said[len(chosen) :], strict=True)
        return [ToldPair(*item) for item in zip(chosen, rejected, pairs, strict=True)]

    def _expected(self, rows: Sequence[Told]) -> list[float]:
        """log pi_ref(y | x) of each."""
        self.reference.settle()
        found = [0.0] * len(rows)
        with self.reference.model() as model:
            device = next(model.parameters()).device
            for indices in batches_by_length([row.length for row in rows], BATCH):
                inputs, targets = self.told.collate([rows[i] for i in indices]).to(device)
                logits = model(**inputs).logits
                for i, value in zip(indices, token_log_probs(logits, targets["tokens"]).sum(-1).tolist(), strict=True):
                    found[i] = value
        return found

    def collate(self, items: Sequence[ToldPair]) -> TrainingBatch:
        """The chosen rows, then the rejected ones: "tokens" [2 · items, length], "reference" [2 · items]."""
        inputs, targets = self.told.collate([item.chosen for item in items] + [item.rejected for item in items])
        said = [item.reference[0] for item in items] + [item.reference[1] for item in items]
        return TrainingBatch(inputs, {**targets, "reference": torch.tensor(said)})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        chosen, rejected = self._rewards(output, targets)
        return -F.logsigmoid(chosen - rejected).sum(), len(chosen)

    def _rewards(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The implicit rewards beta · log pi/pi_ref (the same, equation 5), each [pairs]."""
        assert output.logits is not None
        said = token_log_probs(output.logits, targets["tokens"]).sum(-1)  # [2 · pairs]
        chosen, rejected = (self.beta * (said - targets["reference"])).chunk(2)
        return chosen, rejected

    def answers(self, output: Output, batch: TrainingBatch) -> list[Scores]:
        chosen, rejected = self._rewards(output, batch.targets)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))

    def score(self, predictions: Sequence[Scores], examples: Sequence[Preference]) -> dict[str, float]:  # noqa: ARG002
        """accuracy: the share of pairs whose chosen completion has the higher implicit reward; the mean margin between
        the two; and the mean of either."""
        count = max(1, len(predictions))
        return {
            "accuracy": preferred(predictions),
            "margin": margin(predictions),
            "chosen": sum(chosen for chosen, _ in predictions) / count,
            "rejected": sum(rejected for _, rejected in predictions) / count,
        }

    def describe(self) -> dict[str, Any]:
        told = self.told
        return {"task": "dpo", "max_length": told.max_length, "template": told.template, "beta": self.beta}
