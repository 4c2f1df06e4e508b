"""How many of a model's parameters are trained."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of scalars, tied ones counted once."""

    trainable: int
    total: int

    @property
    def percent(self) -> float:
        """Trainable ones in percent of all."""
        return 100 * self.trainable / self.total if self.total else 0.0


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count the parameters of `model`, adapters included: `.trainable`, `.total`, `.percent`."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return ParameterCount(sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes))
