"""One optimiser step: gradients of a window of batches, brought together, made a mean, clipped, and taken.

batch ─ feed ─ loss · scale ─ backward ─┐
batch ─ feed ─ loss · scale ─ backward ─┴► sum of gradients ─ ÷ (scale · targets) ─ clip ─ optimiser
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from minitl.models.base import Model
from minitl.training.engine import Engine, Fed
from minitl.training.optimizer import Optimizers
from minitl.training.pull import Pull
from minitl.training.settings import Settings

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Accumulated:
    """What a window's batches gave, over all processes."""

    loss: float  # the mean over the targets
    count: int  # targets
    tokens: int  # read, padding not counted


class LossScale:
    """What float16 losses are multiplied by so that small gradients do not become 0 (Micikevicius et al. 2018, 3.2).

    Halved when a gradient overflows, and that step is not taken; doubled after `PATIENCE` steps without. Other types
    have the exponents of float32 and keep the scale 1.
    """

    FIRST, PATIENCE = 2.0**16, 2000

    def __init__(self, autocast: str) -> None:
        self.moves = autocast == "float16"
        self.value = self.FIRST if self.moves else 1.0
        self.good_steps = 0

    def overflowed(self) -> bool:
        """Note a gradient that is not finite; whether a smaller scale may help."""
        if not self.moves or self.value <= 1.0:
            return False
        self.value, self.good_steps = self.value / 2, 0
        return True

    def held(self) -> None:
        """Note a step that was taken."""
        self.good_steps += 1
        if self.moves and self.good_steps % self.PATIENCE == 0:
            self.value *= 2


def accumulate(
    fed: Fed,
    window: Sequence[Sequence[int]],
    *,
    model: Model,
    settings: Settings,
    engine: Engine,
    scale: float,
) -> Accumulated:
    """Add the gradients of the window's batches, times `scale`; each process does its share of every batch."""
    total, count, tokens = 0.0, 0, 0
    for i, batch in enumerate(window):
        indices, weight = engine.share(batch)
        with engine.meeting(model, last=i == len(window) - 1):
            with autocast(model, settings):
                loss, targets_in_batch, read = fed(indices, weight)
            (loss * (scale * weight)).backward()
        if weight:
            total, count = total + loss.item(), count + targets_in_batch
            tokens += sum(int(mask.sum()) for name, mask in read.inputs.items() if name.endswith("attention_mask"))
    total, everything, read_by_all = engine.sums(total, count, tokens)
    everything = max(1, round(everything))  # by chance nothing is to be said of a batch: masks are drawn
    return Accumulated(total / everything, everything, round(read_by_all))


@torch.no_grad()
def normalize(
    optimizer: Optimizers, count: int, *, settings: Settings, engine: Engine, scale: float, pull: Pull | None
) -> float:
    """Make the sum of gradients the mean over `count` targets, add the pull, and clip; the norm before clipping.

    The mean over the window's targets, not of the batches' means: a short batch must not weigh like a full one. Where
    the norm is not finite, the gradients are left as they are: nothing is to be done with them.
    """
    learnable = [p for p in optimizer.parameters if p.grad is not None]
    gradients = [p.grad for p in learnable if p.grad is not None]
    share = engine.world / (count * scale)  # engines of several processes bring the mean of their sums
    if pull is None:
        norm = float(engine.norm(gradients)) * share
    else:
        torch._foreach_mul_(gradients, share)
        pull.add(learnable)
        norm, share = float(engine.norm(gradients)), 1.0
    if math.isfinite(norm):
        clip = settings.clip or math.inf
        torch._foreach_mul_(gradients, min(1.0, clip / (norm + 1e-6)) * share)
    return norm


def autocast(model: Model, settings: Settings) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in the half precision of the settings, over weights that stay as they are."""
    if settings.autocast == "float32":
        return contextlib.nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype=DTYPES[settings.autocast])
