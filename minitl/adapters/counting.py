"""How many of a model's parameters are trained."""

from dataclasses import dataclass

from torch import nn

from minitl.nn.grown import Grown


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
    """Count the parameters of `model`, adapters included: `.trainable`, `.total`, `.percent`.

    The old rows of tables that grew by `add_tokens` are not trained, whatever their requires_grad says.
    """
    frozen = {id(old) for module in model.modules() if isinstance(module, Grown) for old in module.frozen()}
    sizes = [(p.numel(), p.requires_grad and id(p) not in frozen) for p in model.parameters()]
    return ParameterCount(sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes))
