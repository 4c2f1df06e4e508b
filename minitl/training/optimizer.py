"""The optimisers, as torch has them, over the parameters that learn; and the learning-rate schedule."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from minitl.models.base import Model
from minitl.training.lora_plus import LoraPlus
from minitl.training.settings import Settings

SLANTED = 32  # how much smaller the last rate is than the peak


class Optimizers:
    """One optimiser, or several that step together, each over parameters of its own.

    Each group of parameters carries the "scale" of its rate, see `set_rate`.
    """

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        self.members = members

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of parameters of all."""
        return [group for member in self.members for group in member.param_groups]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that learns."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def set_rate(self, rate: float) -> None:
        """Take the next step at the scheduled `rate`, times each group's scale."""
        for group in self.param_groups:
            group["lr"] = rate * group["scale"]

    def step(self) -> None:
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad()

    def forget(self) -> None:
        """Drop the moments: the memory is wanted for other things."""
        for member in self.members:
            member.state.clear()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What is remembered of one parameter: moments and counts, by torch's names; {} before its first gradient."""
        member = self._member(parameter)
        return {name: value for name, value in member.state.get(parameter, {}).items() if isinstance(value, Tensor)}

    def put_state(self, parameter: nn.Parameter, state: Mapping[str, Tensor]) -> None:
        """The reverse of `state_of`."""
        self._member(parameter).state[parameter] = dict(state)

    def _member(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        return next(m for m in self.members if any(parameter is p for g in m.param_groups for p in g["params"]))


def make_optimizer(
    model: Model,
    settings: Settings,
    may_learn: set[str],
    lora_plus: LoraPlus | None = None,
    layer_decay: float = 1.0,
    pulled: bool = False,
) -> Optimizers:
    """The optimiser of `settings` over the parameters named in `may_learn`.

    "adamw"       Loshchilov & Hutter 2019, algorithm 2
    "adafactor"   Shazeer & Stern 2018: rows and columns of the second moment alone, at the scheduled rate
    "muon"        Jordan et al. 2024: for the matrices of the layers, with the rate of AdamW (Liu et al. 2025, section
                  2.2), which takes the rest
    "sgd"         without momentum

    Biases, norm weights and DoRA's magnitudes, the one-dimensional parameters, are not decayed: pulling them to 0 would
    not make the function simpler (Devlin et al. 2019 do the same); nor is a backbone that is `pulled` elsewhere. Frozen
    parameters have no gradient, and are passed by. Each group carries the "scale" of its rate, see `set_rate`:
    `lora_plus`'s, or `layer_decay` to the power of how many layers lie above, the head's being 1.
    """
    depths = model.parameter_groups_by_depth()
    scales = {id(p): layer_decay ** (len(depths) - at) for at, group in enumerate(depths) for p in group}
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name in may_learn:
            decays = parameter.dim() > 1 and not (pulled and id(parameter) in scales)
            scale = (
                lora_plus.scale(name, parameter, settings.peak_rate) if lora_plus else scales.get(id(parameter), 1.0)
            )
            turns = settings.optimizer == "muon" and parameter.dim() == 2 and ".layers." in f".{name}"
            groups.setdefault((turns, settings.weight_decay if decays else 0.0, scale), []).append(parameter)
    rate = settings.peak_rate  # of the constructors, until `set_rate`
    turned = [_group(members, decay, scale) for (turns, decay, scale), members in groups.items() if turns]
    others = [_group(members, decay, scale) for (turns, decay, scale), members in groups.items() if not turns]
    members: list[torch.optim.Optimizer] = []
    if turned:
        members.append(torch.optim.Muon(turned, lr=rate, adjust_lr_fn="match_rms_adamw"))
    if others:
        members.append(_ELEMENTWISE[settings.optimizer](others, rate))
    optimizers = Optimizers(*members)
    optimizers.set_rate(rate)
    return optimizers


def _group(members: list[nn.Parameter], decay: float, scale: float) -> dict[str, Any]:
    return {"params": members, "weight_decay": decay, "scale": scale}


_ELEMENTWISE: dict[str, Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]] = {
    "adamw": lambda groups, rate: torch.optim.AdamW(groups, lr=rate, fused=True),
    "muon": lambda groups, rate: torch.optim.AdamW(groups, lr=rate, fused=True),
    "adafactor": lambda groups, rate: torch.optim.Adafactor(groups, lr=rate),
    "sgd": lambda groups, rate: torch.optim.SGD(groups, lr=rate),
}


def make_schedule(settings: Settings, steps: int) -> Callable[[int], float]:
    """The learning rate of optimiser step 0 … steps - 1: a linear rise over `warmup`, then the chosen fall to 0.

    The first step has a rate above 0 already, and the last of the rise has the peak: transformers' schedules of the
    same names stand one step behind in the rise, and take their first step at a rate of 0. "slanted" is equation 3 of
    Howard & Ruder 2018 to the step.
    """
    rise = round(settings.warmup * steps)

    def fall(share: float) -> float:
        if settings.schedule == "linear":
            return 1.0 - share
        if settings.schedule == "slanted":
            return 1.0 - share * (1.0 - 1.0 / SLANTED)
        return 1.0 if settings.schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * share))

    def rate(step: int) -> float:
        if step < rise and settings.schedule == "slanted":
            return settings.peak_rate * (1.0 + step / rise * (SLANTED - 1)) / SLANTED
        if step < rise:
            return settings.peak_rate * (step + 1) / rise
        return settings.peak_rate * fall((step - rise) / max(1, steps - rise))

    return rate
