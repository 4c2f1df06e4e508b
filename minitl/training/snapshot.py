"""Everything that moves in a training, taken as tensors and facts, and put back."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitl.checkpoints.sharded import ShardedWeights
from minitl.checkpoints.weights import Weights
from minitl.errors import TrainingError
from minitl.models.base import Model
from minitl.training.averaging import Average
from minitl.training.engine import Engine
from minitl.training.optimizer import Optimizers
from minitl.training.state import Progress
from minitl.training.stepping import LossScale


@dataclass
class Snapshot:
    """What moves; `progress` is asked for and given back, for it is made anew.

    learning   names of the parameters that the optimiser holds
    """

    model: Model
    learning: set[str]
    optimizer: Optimizers
    average: Average | None
    scale: LossScale
    engine: Engine

    def tensors(self, progress: Progress) -> dict[str, Tensor]:
        """model.NAME, best.NAME, average.NAME, optimizer.KEY.NAME, and rng.KIND.PROCESS; every process must call."""
        tensors = {f"best.{name}": value for name, value in progress.best.items()}
        if self.average:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        for name in sorted(self.learning):
            parameter = self.model.get_parameter(name)
            tensors[f"model.{name}"] = parameter.detach()
            tensors |= {f"optimizer.{key}.{name}": v for key, v in self.optimizer.state_of(parameter).items()}
        for process, drawn in enumerate(self.engine.gathered(_random_tensors())):
            tensors |= {f"{name}.{process}": value for name, value in drawn.items()}
        return tensors

    def facts(self, progress: Progress) -> dict[str, Any]:
        """The rest, for JSON."""
        progress.scale, progress.good_steps = self.scale.value, self.scale.good_steps
        return {
            "progress": progress.to_dict(),
            "random": self.engine.gathered(_random_facts()),
            "kernels": _kernels(self.model),
        }

    @torch.no_grad()
    def restore(self, weights: Weights | ShardedWeights, facts: Mapping[str, Any]) -> Progress:
        """Put it all back; TrainingError where the state is of other parameters."""
        if {name.removeprefix("model.") for name in weights if name.startswith("model.")} != self.learning:
            raise TrainingError("the state holds other parameters than this model learns")
        best: dict[str, Tensor] = {}
        moments: dict[str, dict[str, Tensor]] = {}
        for stored in weights:
            kind, _, name = stored.partition(".")
            if kind == "model":
                parameter = self.model.get_parameter(name)
                parameter.copy_(self.engine.part(weights[stored], parameter))
            elif kind == "best":
                best[name] = self._part(weights, stored, name)
            elif kind == "average" and self.average:
                self.average.values[name].copy_(self._part(weights, stored, name))
            elif kind == "optimizer":
                key, _, name = name.partition(".")
                moments.setdefault(name, {})[key] = self._part(weights, stored, name)
        for name, state in moments.items():
            self.optimizer.put_state(self.model.get_parameter(name), state)
        _replay_kernels(facts["kernels"], self.model)
        progress = Progress.from_dict(facts["progress"], best)
        self.scale.value, self.scale.good_steps = progress.scale, progress.good_steps
        if self.engine.rank < len(facts["random"]):
            _restore_random(weights, facts["random"][self.engine.rank], self.engine.rank)
        return progress

    def _part(self, weights: Weights | ShardedWeights, stored: str, name: str) -> Tensor:
        """A tensor of the state, laid out as its parameter is; never a view of the file's."""
        return self.engine.part(weights[stored], self.model.get_parameter(name))


def _kernels(model: Model) -> list[dict[str, Any]]:
    """The plans of LoRA's kernels that were measured on this GPU; another plan gives other last bits."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return []
    from minitl_kernels.lora.tuned import entries_in_use

    return entries_in_use(device)


def _replay_kernels(entries: list[dict[str, Any]], model: Model) -> None:
    device = next(model.parameters()).device
    if device.type == "cuda":
        from minitl_kernels.lora.tuned import replay

        replay(entries, device)


def _random_tensors() -> dict[str, Tensor]:
    """Where the generators of torch, CUDA and NumPy stand."""
    _, numbers, *_ = np.random.get_state(legacy=True)
    tensors = {"rng.torch": torch.get_rng_state(), "rng.numpy": torch.from_numpy(np.asarray(numbers, dtype=np.int64))}
    return tensors | ({"rng.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _random_facts() -> dict[str, Any]:
    """And that of Python, and what is no array in NumPy's."""
    version, words, gauss = random.getstate()
    kind, _, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), int(position), int(has_gauss), float(cached)],
    }


def _restore_random(weights: Weights | ShardedWeights, facts: Mapping[str, Any], process: int) -> None:
    """The reverse: what is drawn next is what would have been drawn."""
    version, words, gauss = facts["python"]
    random.setstate((version, tuple(words), gauss))
    kind, position, has_gauss, cached = facts["numpy"]
    numbers = weights[f"rng.numpy.{process}"].numpy().astype(np.uint32)
    np.random.set_state((kind, numbers, position, has_gauss, cached))
    torch.set_rng_state(weights[f"rng.torch.{process}"].clone())
    if f"rng.cuda.{process}" in weights and torch.cuda.is_available():
        torch.cuda.set_rng_state(weights[f"rng.cuda.{process}"].clone())
