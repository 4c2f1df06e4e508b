"""L2-SP: a pull back towards the pretrained weights, against forgetting (Li, Grandvalet & Davoine 2018, equation 2).

    loss + α / 2 · ‖w − w⁰‖²        over the backbone, w⁰ being what it began with

The head has no w⁰: it is decayed towards 0 as ever, and the backbone is then not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minitl.models.base import Model


class Pull:
    """Adds α (w − w⁰) to the gradients of a backbone. Holds a copy of it, taken when this is made."""

    def __init__(self, model: Model, strength: float) -> None:
        self.strength = strength
        backbone = [p for parameters in model.parameter_groups_by_depth() for p in parameters]
        self._start: dict[int, Tensor] = {id(p): p.detach().clone() for p in backbone}

    def add(self, parameters: Sequence[nn.Parameter]) -> None:
        """To the gradients of those of `parameters` that belong to the backbone."""
        pulled = [p for p in parameters if id(p) in self._start and p.grad is not None]
        if pulled:
            gradients = [p.grad for p in pulled if p.grad is not None]
            torch._foreach_add_(gradients, [p.detach() for p in pulled], alpha=self.strength)
            torch._foreach_sub_(gradients, [self._start[id(p)] for p in pulled], alpha=self.strength)
