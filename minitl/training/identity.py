"""What an interrupted training must share with the one that goes on from its state."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from minitl.data import Stream
from minitl.models.base import Model
from minitl.tasks.task import Task
from minitl.training.replay import Replay
from minitl.training.settings import Settings
from minitl.training.strategies import Strategy

SAMPLED = 64  # numbers of a weight that are looked at: another checkpoint has others


def identity(
    model: Model,
    learning: set[str],
    task: Task[Any, Any],
    settings: Settings,
    strategy: Strategy,
    replay: Replay | None,
    train: Sequence[Any] | Stream[Any],
    validation: Sequence[Any] | None,
) -> dict[str, Any]:
    """What the result depends on beside the state, as JSON: nested names, of which a message can say which differs.

    learning   names of the parameters whose values are in the state; of all others some numbers are looked at
    """
    return {
        "model": {
            "source": model.source,
            "config": model.config.to_dict(),
            "new_tokens": list(model.new_tokens),
            "frozen_weights": _sampled(model, learning),
        },
        "task": task.describe(),
        "settings": settings.decisive(),
        "strategy": asdict(strategy),
        "replay": replay and replay.describe(),
        "data": {
            "training": _digest(train),
            "validation": _digest(validation),
            "replay": _digest(replay.examples if replay else None),
        },
    }


def _digest(examples: Sequence[Any] | Stream[Any] | None) -> Any:
    if isinstance(examples, Stream):
        return examples.describe()
    return zlib.crc32(repr(list(examples or [])).encode("utf-8", "surrogatepass"))


@torch.no_grad()
def _sampled(model: Model, learning: set[str]) -> int:
    """A checksum of numbers taken from all over each weight that does not learn; reading them all would take long."""
    found = 0
    for name, parameter in model.named_parameters():
        if name not in learning:
            flat = parameter.reshape(-1)
            step = max(1, len(flat) // SAMPLED)
            found = zlib.crc32(flat[::step].float().cpu().numpy().tobytes(), found)
    return found
