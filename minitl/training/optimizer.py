"""AdamW and its learning-rate schedule."""

import math
from collections.abc import Callable

import torch

from minitl.models.base import Model
from minitl.training.settings import Settings


def make_optimizer(model: Model, settings: Settings, may_learn: set[str]) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) over the parameters named in `may_learn`.

    Biases and norm weights, the one-dimensional parameters, are not decayed: pulling them to 0 would not make the
    function simpler (Devlin et al. 2019 do the same). Frozen parameters have no gradient, and AdamW passes them by.
    """
    named = [(name, p) for name, p in model.named_parameters() if name in may_learn]
    groups = [
        {"params": [p for _, p in named if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, fused=True)


def make_schedule(settings: Settings, steps: int) -> Callable[[int], float]:
    """The learning rate of optimiser step 0 … steps - 1: a linear rise over `warmup`, then the chosen fall to 0."""
    rise = round(settings.warmup * steps)

    def fall(share: float) -> float:
        if settings.schedule == "linear":
            return 1.0 - share
        return 1.0 if settings.schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * share))

    def rate(step: int) -> float:
        if step < rise:
            return settings.learning_rate * (step + 1) / rise
        return settings.learning_rate * fall((step - rise) / max(1, steps - rise))

    return rate
