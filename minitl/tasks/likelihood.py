"""How well a language model expects a text: the sums that masked and causal models share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from minitl.nn.output import Output
from minitl.tasks.task import NO_TARGET

Counted = tuple[float, int]  # of an item: the summed -log p of its targets, and their number


def summed_loss(output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """-log softmax(logits)[target], summed over the targets that are not NO_TARGET; and their number."""
    assert output.logits is not None
    tokens = targets["tokens"]
    here = tokens != NO_TARGET
    loss = F.cross_entropy(output.logits[here].float(), tokens[here], reduction="sum")  # [targets, vocabulary]
    return loss, int(here.sum())


def counted(output: Output, targets: Mapping[str, Tensor]) -> list[Counted]:
    """The same for each item."""
    assert output.logits is not None
    tokens = targets["tokens"]
    losses = F.cross_entropy(output.logits.float().transpose(1, 2), tokens, reduction="none")  # [batch, length]
    return list(zip(losses.sum(-1).tolist(), (tokens != NO_TARGET).sum(-1).tolist(), strict=True))


def scores(answers: Sequence[Any]) -> dict[str, float]:
    """log_likelihood, the mean over targets, in nats; perplexity, e to minus that."""
    total, count = sum(loss for loss, _ in answers), sum(number for _, number in answers)
    mean = total / max(1, count)
    return {"log_likelihood": -mean, "perplexity": math.exp(min(mean, 700.0))}
