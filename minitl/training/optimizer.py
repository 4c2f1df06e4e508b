"""AdamW and its learning-rate schedule."""

import math
from collections.abc import Callable

import torch
from torch import nn

from minitl.models.base import Model
from minitl.training.lora_plus import LoraPlus
from minitl.training.settings import Settings

SLANTED = 32  # how much smaller the last rate is than the peak


def make_optimizer(
    model: Model,
    settings: Settings,
    may_learn: set[str],
    lora_plus: LoraPlus | None = None,
    layer_decay: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) over the parameters named in `may_learn`.

    Biases, norm weights and DoRA's magnitudes, the one-dimensional parameters, are not decayed: pulling them to 0 would
    not make the function simpler (Devlin et al. 2019 do the same). Frozen parameters have no gradient, and AdamW passes
    them by. Each group carries the "scale" of its rate, see `set_rate`: `lora_plus`'s, or `layer_decay` to the power of
    how many layers lie above, the head's being 1.
    """
    depths = model.parameter_groups_by_depth()
    scales = {id(p): layer_decay ** (len(depths) - at) for at, group in enumerate(depths) for p in group}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name in may_learn:
            decay = settings.weight_decay if parameter.dim() > 1 else 0.0
            scale = (
                lora_plus.scale(name, parameter, settings.peak_rate) if lora_plus else scales.get(id(parameter), 1.0)
            )
            groups.setdefault((decay, scale), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": members, "weight_decay": decay, "scale": scale} for (decay, scale), members in groups.items()],
        fused=True,
    )
    set_rate(optimizer, settings.peak_rate)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Take the next step at the scheduled `rate`, times each group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def make_schedule(settings: Settings, steps: int) -> Callable[[int], float]:
    """The learning rate of optimiser step 0 … steps - 1: a linear rise over `warmup`, then the chosen fall to 0."""
    rise = round(settings.warmup * steps)

    def fall(share: float) -> float:
        if settings.schedule == "linear":
            return 1.0 - share
        if settings.schedule == "slanted":
            return 1.0 - share * (1.0 - 1.0 / SLANTED)
        return 1.0 if settings.schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * share))

    def rate(step: int) -> float:
        if step < rise:
            return settings.peak_rate * (step + 1) / rise
        return settings.peak_rate * fall((step - rise) / max(1, steps - rise))

    return rate
