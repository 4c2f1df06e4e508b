"""How probes are trained: all of them at once, and each as if it were alone.

The loss is the sum of every probe's own, so the gradient of each is what it would be alone; Adam works element by
element; the learning rate, the best round and the end of training are each probe's own. Nothing is shared but the
pass over the data, which is what costs: a sweep over many layers and seeds takes little longer than one probe.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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

    def kept(self, questions: Tensor, layers: Tensor, seeds: Tensor) -> "Learner":
        """Some of the probes, by number."""


@dataclass(frozen=True, eq=False)
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
    running = _Running(learner, regimen)
    best = {name: value.clone() for name, value in running.parameters.items()}
    best_loss, best_round = torch.full(learner.shape, torch.inf), torch.zeros(learner.shape, dtype=torch.long)
    passes = math.ceil(regimen.round_steps * regimen.batch_size / learner.count("train"))
    done = 0
    while done < regimen.rounds and running.any():
        for turn in range(done * passes, (done + 1) * passes):
            running.pass_over(turn, regimen.batch_size)
        done += 1
        loss = mean_losses(running.learner, running.parameters, regimen)
        if not loss[running.alive].isfinite().all():
            raise Diverged(f"a probe's validation loss is not finite after round {done}; try a lower learning_rate")
        better = running.alive & (loss < best_loss[running.places] * (1 - regimen.tolerance))
        where = tuple(place[better] for place in running.places)
        best_loss[where], best_round[where] = loss[better], done
        for name, value in running.parameters.items():
            best[name][where] = value[better]
        running.judge(better, regimen)
    return Trained(best, best_loss, best_round, done)


class _Running:
    """The probes in training. A layer, seed or question of which all have stopped is no longer computed.

    alive    which have not stopped: [questions, layers, seeds], like all that is kept of each probe
    places   where among all probes each of these is: three such tensors
    """

    def __init__(self, learner: Learner, regimen: Regimen) -> None:
        shape = learner.shape
        self.learner = learner
        self.generators = [Generator().manual_seed(seed) for seed in learner.seeds]
        self.parameters = _side_by_side([learner.new(generator) for generator in self.generators], shape)
        self.adam = Adam(self.parameters, regimen.weight_decay)
        self.rates = torch.full(shape, regimen.learning_rate)
        self.waited = torch.zeros(shape, dtype=torch.long)  # rounds without a fall
        self.alive = torch.ones(shape, dtype=torch.bool)
        self.places = torch.meshgrid(*map(torch.arange, shape), indexing="ij")

    def any(self) -> bool:
        return bool(self.alive.any())

    def pass_over(self, turn: int, batch_size: int) -> None:
        """Read the training part once."""
        orders = torch.stack([self.learner.order(one, turn, batch_size) for one in self.generators])
        for indices in orders.split(batch_size, dim=1):  # [seeds, batch]
            self.adam.step(self.parameters, _gradients(self.learner, self.parameters, indices), self.rates)

    def judge(self, better: Tensor, regimen: Regimen) -> None:
        """After a round: cut the rates of those that did not get better, and stop those that waited in vain."""
        self.waited = torch.where(better, 0, self.waited + 1)
        self.rates = torch.where(better, self.rates, self.rates * regimen.cut)
        self.alive &= self.waited < regimen.patience
        kept = [self.alive.any(1).any(1), self.alive.any(0).any(1), self.alive.any(0).any(0)]
        if self.any() and not all(bool(axis.all()) for axis in kept):
            self._keep(*(axis.nonzero()[:, 0] for axis in kept))

    def _keep(self, questions: Tensor, layers: Tensor, seeds: Tensor) -> None:
        def kept(value: Tensor) -> Tensor:
            return value[questions][:, layers][:, :, seeds]

        self.learner = self.learner.kept(questions, layers, seeds)
        self.generators = [self.generators[seed] for seed in seeds.tolist()]
        self.parameters = {name: kept(value) for name, value in self.parameters.items()}
        self.adam.keep(kept)
        self.rates, self.waited, self.alive = kept(self.rates), kept(self.waited), kept(self.alive)
        self.places = tuple(kept(place) for place in self.places)


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
def mean_losses(learner: Learner, parameters: Parameters, regimen: Regimen) -> Tensor:
    """The mean over all validation examples: [questions, layers, seeds]."""
    total = torch.zeros(learner.shape, dtype=torch.float64)
    count = learner.count("validation")
    for indices in torch.arange(count)[None].split(EVALUATED * regimen.batch_size, dim=1):
        total += learner.losses(parameters, "validation", indices).double().sum(-1)
    return (total / count).float()


class Adam:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) with a learning rate for each probe."""

    def __init__(self, parameters: Parameters, weight_decay: float) -> None:
        self._decay = weight_decay
        self._first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self, parameters: Parameters, gradients: Mapping[str, Tensor], rates: Tensor) -> None:
        """Change `parameters` in place; `rates` [questions, layers, seeds]."""
        self._steps += 1
        beta, beta_squared = BETAS
        correction, root = 1 - beta**self._steps, math.sqrt(1 - beta_squared**self._steps)
        for name, gradient in gradients.items():
            value, first, second = parameters[name], self._first[name], self._second[name]
            rate = _wide(rates, value)
            first.lerp_(gradient, 1 - beta)
            second.mul_(beta_squared).addcmul_(gradient, gradient, value=1 - beta_squared)
            if self._decay and name.endswith(".weight"):
                value.mul_(1 - rate * self._decay)
            # rate · (first / correction) / (sqrt(second) / root + ε), in as few passes as there can be
            denominator = second.sqrt().add_(EPSILON * root).div_(rate * root / correction)
            value.addcdiv_(first, denominator, value=-1)

    def keep(self, kept: Callable[[Tensor], Tensor]) -> None:
        """Go on with some of the probes."""
        self._first = {name: kept(value) for name, value in self._first.items()}
        self._second = {name: kept(value) for name, value in self._second.items()}


def _wide(per_probe: Tensor, like: Tensor) -> Tensor:
    """[questions, layers, seeds] with ones behind, to go with a parameter."""
    return per_probe.reshape(*per_probe.shape, *[1] * (like.dim() - per_probe.dim()))
