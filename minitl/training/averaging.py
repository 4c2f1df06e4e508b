"""The moving average of the weights: smoother than any step's own (Polyak & Juditsky 1992).

    average ← decay · average + (1 − decay) · weights        after each step

The decay rises with the steps, min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from minitl.models.base import Model


class Average:
    """Of the parameters `names`, from what they are when this is made."""

    def __init__(self, model: Model, names: set[str], decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters() if n in names}

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Take in the weights after step number `step`."""
        weights: list[Tensor] = [model.get_parameter(name).detach() for name in self.values]
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), weights, 1 - decay)

    @contextlib.contextmanager
    def in_place(self, model: Model) -> Iterator[None]:
        """The model has the average for its weights meanwhile."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: Model) -> None:
        for name, average in self.values.items():
            parameter = model.get_parameter(name)
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
