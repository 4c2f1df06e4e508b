"""How probes are trained: all of them at once, and each as if it were alone.

The loss is the sum of every probe's own, so the gradient of each is what it would be alone; Adam works element by
element; the learning rate, the best round and the end of training are each probe's own. Nothing is shared but the
pass over the data, which is what costs: a sweep over many layers and seeds takes little longer than one probe.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Generator, Tensor

from minitl.errors import Diverged, InputError
from minitl.probing.probes import Parameters

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's own (Kingma & Ba 2015)
EVALUATED = 4  # batches that are evaluated at a time: without gradients there is room

Part = Literal["train", "validation"]


@dataclass(frozen=True)
class Regimen:
    """rounds         at most so many; after each the validation loss is taken
    round_steps    a round is one pass over the training part, or several where one is of fewer steps than these
    batch_size     examples a step; of tree tasks, texts
    learning_rate  Adam's, cut by `cut` after each round in which a probe's validation loss did not fall
    patience       rounds in a row without such a fall after which a probe has stopped
    tolerance      the share of itself by which the loss must fall to have fallen
    weight_decay   AdamW's, of weight matrices alone: a linear probe of scores is then a ridge regression

    InputError: a value out of range.
    """

    rounds: int = 30
    round_steps: int = 32
    batch_size: int = 64
    learning_rate: float = 3e-3
    cut: float = 0.25
    patience: int = 2
    tolerance: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        for name in ("rounds", "round_steps", "batch_size", "patience"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name} must be an integer of at least 1, got {getattr(self, name)!r}")
        if (
            not self.learning_rate > 0
            or not 0 < self.cut <= 1
            or not (0 <= self.weight_decay < 1 and 0 <= self.tolerance < 1)
        ):
            raise InputError(
                f"expected learning_rate > 0, cut in (0, 1], tolerance and weight_decay in [0, 1), got "
                f"{self.learning_rate}, {self.cut}, {self.tolerance}, {self.weight_decay}"
            )


class Learner(Protocol):
    """Probes side by side: `shape` is (questions, layers, seeds), with a seed for each place of the last."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def seeds(self) -> tuple[int, ...]: ...

    def count(self, part: Part) -> int:
        """How many examples there are."""

    def new(self, generator: Generator) -> Parameters:
        """Fresh parameters of one probe."""

    def order(self, generator: Generator, turn: int, batch_size: int) -> Tensor:
        """The training part's examples in the order of the pass number `turn`, to be cut into batches: [count]."""

    def losses(self, parameters: Parameters, part: Part, indices: Tensor) -> Tensor:
        """Of the examples [seeds or 1, batch], for each probe: [questions, layers, seeds, batch]."""


@dataclass(frozen=True)
class Trained:
    """parameters   of each probe's best round
    loss         its mean validation loss: [questions, layers, seeds]
    best_round   which it was, from 1: [questions, layers, seeds]
    rounds       how many were run: as many as the last probe to stop needed
    """

    parameters: Parameters
    loss: Tensor
    best_round: Tensor
    rounds: int


def train(learner: Learner, regimen: Regimen) -> Trained:
    """Train all probes of `learner`.

    A seed decides the fresh weights and the order of the examples, so all layers of a seed begin alike and see the
    same; another seed has another order. Diverged: a probe's validation loss that is not finite.
    """
    generators = [Generator().manual_seed(seed) for seed in learner.seeds]
    parameters = _side_by_side([learner.new(generator) for generator in generators], learner.shape)
    adam = Adam(parameters, regimen.weight_decay)
    rates = torch.full(learner.shape, regimen.learning_rate)
    best = {name: value.clone() for name, value in parameters.items()}
    best_loss, best_round = torch.full(learner.shape, torch.inf), torch.zeros(learner.shape, dtype=torch.long)
    waited, running = torch.zeros(learner.shape, dtype=torch.long), torch.ones(learner.shape, dtype=torch.bool)
    done, passes = 0, math.ceil(regimen.round_steps * regimen.batch_size / learner.count("train"))
    while done < regimen.rounds and running.any():
        for turn in range(done * passes, (done + 1) * passes):
            orders = torch.stack([learner.order(one, turn, regimen.batch_size) for one in generators])
            for indices in orders.split(regimen.batch_size, dim=1):  # [seeds, batch]
                adam.step(_gradients(learner, parameters, indices), rates)
        done += 1
        loss = mean_losses(learner, parameters, regimen)
        if not loss[running].isfinite().all():
            raise Diverged(f"a probe's validation loss is not finite after round {done}; try a lower learning_rate")
        better = running & (loss < best_loss * (1 - regimen.tolerance))
        best = {name: torch.where(_wide(better, value), parameters[name], value) for name, value in best.items()}
        best_loss, best_round = torch.where(better, loss, best_loss), best_round.masked_fill(better, done)
        waited = torch.where(better, 0, waited + 1)
        rates = torch.where(better, rates, rates * regimen.cut)
        running &= waited < regimen.patience
    return Trained(best, best_loss, best_round, done)


def _side_by_side(alone: Sequence[Parameters], shape: tuple[int, int, int]) -> Parameters:
    """One probe's parameters for each seed -> [questions, layers, seeds, …], the same for all questions and layers."""
    questions, layers, _ = shape
    stacked = {name: torch.stack([one[name] for one in alone]) for name in alone[0]}
    return {name: value.expand(questions, layers, *value.shape).contiguous() for name, value in stacked.items()}


def _gradients(learner: Learner, parameters: Parameters, indices: Tensor) -> dict[str, Tensor]:
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    loss = learner.losses(leaves, "train", indices).mean(-1).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@torch.no_grad()
def mean_losses(learner: Learner, parameters: Parameters, regimen: Regimen, part: Part = "validation") -> Tensor:
    """The mean over all examples of a part: [questions, layers, seeds]."""
    total = torch.zeros(learner.shape, dtype=torch.float64)
    for indices in torch.arange(learner.count(part))[None].split(EVALUATED * regimen.batch_size, dim=1):
        total += learner.losses(parameters, part, indices).double().sum(-1)
    return (total / learner.count(part)).float()


class Adam:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) with a learning rate for each probe; works in place."""

    def __init__(self, parameters: Parameters, weight_decay: float) -> None:
        self._parameters, self._decay = parameters, weight_decay
        self._first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Tensor) -> None:
        """`rates` [questions, layers, seeds]"""
        self._steps += 1
        beta, beta_squared = BETAS
        correction, correction_squared = 1 - beta**self._steps, 1 - beta_squared**self._steps
        for name, gradient in gradients.items():
            value, first, second = self._parameters[name], self._first[name], self._second[name]
            rate = _wide(rates, value)
            first.lerp_(gradient, 1 - beta)
            second.mul_(beta_squared).addcmul_(gradient, gradient, value=1 - beta_squared)
            if self._decay and name.endswith(".weight"):
                value.mul_(1 - rate * self._decay)
            denominator = (second / correction_squared).sqrt_().add_(EPSILON)
            value.sub_((first / denominator).mul_(rate / correction))


def _wide(per_probe: Tensor, like: Tensor) -> Tensor:
    """[questions, layers, seeds] with ones behind, to go with a parameter."""
    return per_probe.reshape(*per_probe.shape, *[1] * (like.dim() - per_probe.dim()))
