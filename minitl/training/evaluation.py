"""Run a model over a split without learning from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minitl.data import Example, batches_by_length
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.feeds import Feed, TextFeed


def evaluate(model: Model, examples: Sequence[Example], *, task: Task, batch_size: int = 64) -> dict[str, float]:
    """The task's metrics and the mean "loss" over `examples`. Raises DataError for an empty or unlabelled split."""
    task.check(examples, "evaluation")
    feed = TextFeed(model, task, examples, next(model.parameters()).device)
    answers, targets, loss = run_over(model, feed, task, batch_size)
    return {"loss": loss, **task.score(answers, targets)}


def predict(model: Model, examples: Sequence[Example], *, task: Task, batch_size: int = 64) -> Tensor:
    """The task's answers, one row per example in the given order: class probabilities [n, classes], say.

    Labels are not looked at, and may be missing.
    """
    feed = TextFeed(model, task, examples, next(model.parameters()).device)
    return run_over(model, feed, task, batch_size, want_loss=False)[0]


@torch.inference_mode()
def run_over(
    model: Model, feed: Feed, task: Task, batch_size: int, want_loss: bool = True
) -> tuple[Tensor, Tensor, float]:
    """Answers and targets in the order of the examples, on the CPU, and the mean loss (0 where it is not wanted).

    Batches are cut by length, longest first; the model is in eval mode meanwhile.
    """
    was_training = model.training
    model.eval()
    order: list[int] = []
    answers, targets, total, count = [], [], 0.0, 0
    for batch in batches_by_length(feed.lengths, batch_size):
        output, target = feed(batch)
        if want_loss:
            loss, targets_in_batch = task.loss(output, target)
            total, count = total + float(loss), count + targets_in_batch
        order += batch
        answers.append(task.answers(output).cpu())
        targets.append(target.cpu())
    model.train(was_training)
    place = torch.tensor(order).argsort()
    return torch.cat(answers)[place], torch.cat(targets)[place], total / max(1, count)
