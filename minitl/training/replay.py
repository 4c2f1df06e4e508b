"""Replay: go on with the pretraining task beside the new one, against forgetting (Robins 1995).

    step ─┬─ batches of the new task ──────────────► loss of the task
          └─ a batch of pretraining text, same backbone ─► weight · its own loss, a mean over its targets

The backbone is one; each task has its own head. Texts are drawn by the seed and the step, so that a training that goes
on reads what it would have read.
"""

from collections.abc import Sequence
from typing import Any

import torch

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.feeds import Feed
from minitl.training.settings import Settings
from minitl.training.stepping import autocast


def lend_backbone(lender: Model, borrower: Model) -> None:
    """Put the backbone of `lender` under the head of `borrower`: one backbone, two heads.

    What the borrower has no use for it does not take (a pooler, say). InputError for a model of another family.
    """
    if borrower.family is not lender.family:
        raise InputError(
            f"a backbone is lent within a family: {borrower.config.model_type} is not {lender.config.model_type}"
        )
    for name, child in lender.named_children():
        if name != "head" and getattr(borrower, name, None) is not None:
            setattr(borrower, name, child)
    borrower.tie()


class Replay:
    """What is replayed beside a training.

    model       a model with the head of the pretraining task, from the same checkpoint; its backbone becomes that of
                the model that is trained
    task        masked or causal language modelling, say
    examples    its texts
    weight      of its loss
    batch_size  items of a step
    """

    def __init__(
        self, model: Model, task: Task[Any, Any], examples: Sequence[Any], weight: float = 1.0, batch_size: int = 8
    ) -> None:
        if weight <= 0 or batch_size < 1:
            raise InputError(f"replay needs a weight above 0 and a batch of at least 1, got {weight} and {batch_size}")
        if model.task != task.name:
            raise InputError(f"replay: the task {task.name} needs a model with that head; this one's is {model.task}")
        task.check(examples, "replay")
        self.model, self.task, self.examples = model, task, examples
        self.weight, self.batch_size = weight, batch_size

    def attach(self, trained: Model) -> None:
        """Give the pretraining task's model the backbone of `trained`; InputError for a model of another family."""
        lend_backbone(trained, self.model)
        for parameter in self.model.head.parameters():
            if not any(parameter is one for one in trained.parameters()):
                parameter.requires_grad_(False)  # the optimiser does not hold it
        self.model.train()
        self._feed = Feed(self.model, self.task, self.examples, next(trained.parameters()).device)

    def add(self, settings: Settings, step: int, factor: float) -> float:
        """Add the gradients of this step's batch, times `factor`; returns its loss, a mean over targets."""
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + step) % 2**63)
        drawn = torch.randint(len(self._feed.items), (self.batch_size,), generator=generator).tolist()
        with autocast(self.model, settings):
            output, batch = self._feed(drawn)
            loss, count = self.task.loss(output, batch.targets)
        loss = loss / max(1, count)
        if loss.requires_grad:  # not while a strategy holds the whole backbone
            (loss * (self.weight * factor)).backward()
        return loss.item()

    def describe(self) -> dict[str, Any]:
        """What identifies it in a run that goes on."""
        return {"task": self.task.describe(), "weight": self.weight, "batch_size": self.batch_size}
