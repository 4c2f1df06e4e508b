"""How well a language model expects a text: what masked and causal models, and those that are instructed, share."""

import math
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.nn.output import Output
from minitl.tasks.task import NO_TARGET, I, Task, TrainingBatch

Counted = tuple[float, int]  # of an item: the summed -log p of its targets, and their number


class Likelihood(Task[Example, I]):
    """loss = -log softmax(logits)[target], summed over the targets: "tokens" [batch, length], where not NO_TARGET.

    A task may have several targets a place, "tokens" [batch, length, n], if it wants the logits of all places.
    """

    metric = "log_likelihood"

    def check_example(self, example: Example) -> str | None:
        return None if example.text.strip() else "a document without text"

    def is_labelled(self, example: Example) -> bool:  # noqa: ARG002
        return True  # the text itself is what is right

    def wanted(self, targets: Mapping[str, Tensor]) -> Tensor | None:
        """Those with a target: of a masked text a seventh."""
        return targets["tokens"] != NO_TARGET

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        losses = self._losses(output, targets)
        return losses.sum(), len(losses)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Counted]:
        """The loss of each item, and the number of its targets."""
        here = batch.targets["tokens"] != NO_TARGET
        losses = self._losses(output, batch.targets)
        sums = losses.new_zeros(len(here)).index_add_(0, here.nonzero()[:, 0], losses)  # [batch]
        return list(zip(sums.tolist(), here.flatten(1).sum(1).tolist(), strict=True))

    def _losses(self, output: Output, targets: Mapping[str, Tensor]) -> Tensor:
        """Of each target: [targets]."""
        assert output.logits is not None
        here = targets["tokens"] != NO_TARGET
        logits = output.logits if output.logits.dim() == 2 else output.logits[here]  # [targets, vocabulary]
        return F.cross_entropy(logits.float(), targets["tokens"][here], reduction="none")

    def score(self, predictions: Sequence[Counted], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """log_likelihood, the mean over targets, in nats; perplexity, e to minus that."""
        total, count = sum(loss for loss, _ in predictions), sum(number for _, number in predictions)
        mean = total / max(1, count)
        return {"log_likelihood": -mean, "perplexity": math.exp(min(mean, 700.0))}
