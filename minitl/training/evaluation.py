"""Run a model over a split without learning from it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from minitl.data import batches_by_length
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.engine import ALONE, Engine
from minitl.training.feeds import Feed


def evaluate(
    model: Model,
    examples: Sequence[Any],
    *,
    task: Task[Any, Any],
    batch_size: int = 64,
    engine: Engine = ALONE,
) -> dict[str, float]:
    """The task's metrics and the mean "loss" over `examples`. Raises DataError for an empty or unlabelled split."""
    task = task.in_full()
    task.check(examples, "evaluation")
    feed = Feed(model, task, examples, next(model.parameters()).device)
    predictions, loss = run_over(model, feed, task, batch_size, engine=engine)
    return {"loss": loss, **task.score(predictions, examples)}


def predict(model: Model, examples: Sequence[Any], *, task: Task[Any, Any], batch_size: int = 64) -> Any:
    """The task's predictions, one per example in the given order: class probabilities [n, classes], say.

    Labels are not looked at, and may be missing.
    """
    task = task.in_full()
    feed = Feed(model, task, examples, next(model.parameters()).device)
    return run_over(model, feed, task, batch_size, want_loss=False)[0]


SEED = 0  # of what tasks draw in an evaluation


@torch.inference_mode()
def run_over(
    model: Model,
    feed: Feed,
    task: Task[Any, Any],
    batch_size: int,
    want_loss: bool = True,
    engine: Engine = ALONE,
) -> tuple[Any, float]:
    """The predictions in the order of the examples, on the CPU, and the mean loss (0 where it is not wanted).

    Batches are cut by length, longest first, and dealt out to the engine's processes; the model is in eval mode
    meanwhile. What a task draws is the same in each evaluation, and the random state of the training is left as it was.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        return _run_over(model, feed, task, batch_size, want_loss, engine)


def _run_over(
    model: Model, feed: Feed, task: Task[Any, Any], batch_size: int, want_loss: bool, engine: Engine
) -> tuple[Any, float]:
    was_training = model.training
    model.eval()
    mine: dict[int, Any] = {}
    total, count = 0.0, 0
    for indices, weight in dealt(batches_by_length(feed.lengths, batch_size), engine):
        output, batch = feed(indices)
        if weight == 0:
            continue
        if want_loss:
            loss, targets_in_batch = task.loss(output, batch.targets)
            total, count = total + float(loss), count + targets_in_batch
        for i, answer in zip(indices, task.answers(output, batch), strict=True):
            mine[i] = answer.cpu() if isinstance(answer, torch.Tensor) else answer
    model.train(was_training)
    everyones = {i: answer for part in engine.gathered(mine) for i, answer in part.items()}
    everything, targets = engine.sums(total, count)
    answers = [everyones[i] for i in range(len(feed.items))]
    return task.predictions(answers, feed.items), everything / max(1, targets)


def dealt(batches: Sequence[list[int]], engine: Engine) -> Iterator[tuple[list[int], float]]:
    """This process's batches, with the weight 1; as many for each, the last with the weight 0 where there is none."""
    for first in range(0, len(batches), engine.world):
        at = first + engine.rank
        yield (batches[at], 1.0) if at < len(batches) else (batches[0], 0.0)
