"""Probes: small classifiers over frozen vectors, any number of them side by side in one computation.

A probe is described once and computed for all questions, layers and seeds together: each of its parameters has three
dimensions more in front, and none of them ever meets another in a sum.

    parameters   [questions, layers, seeds, …]          a question is one set of labels for the same examples
    x            [layers, seeds or 1, batch, …, size]   what all questions read
    outputs      [questions, layers, seeds, outputs, batch]

Examples are columns: of the products W x and W xᵀ the sides that matter then are vectors' sizes and batches, which fill
a processor's registers, and not numbers of classes, which seldom do. A CPU takes a third less time for it.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from torch import Generator, Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """layers    of the representations
    places    an example has
    size      of a vector that it reads
    outputs   classes, or 1 for a score
    """

    layers: int
    places: int
    size: int
    outputs: int


class Probe(Protocol):
    """reads   "pooled": one vector an example, "spanned": every vector of its places"""

    @property
    def reads(self) -> Literal["pooled", "spanned"]: ...

    def rows(self, layers: int) -> int:
        """How many probes stand side by side over so many layers: the second dimension of the parameters."""

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        """Fresh parameters of one probe, without the dimensions in front."""

    def kept(self, rows: Tensor, layers: int) -> tuple["Probe", Tensor | None]:
        """What computes some of the rows alone, and which of the `layers` it reads; None = all."""

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:
        """The outputs; `real` [seeds or 1, batch, …] says where `x` holds vectors."""


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """W x + b of x [layers, seeds or 1, batch, in] -> [questions, layers, seeds, out, batch].

    One batched matrix product over layers and seeds. The questions are further rows of W, and so are the seeds where
    they read the same x, so that x is read once for all of them.
    """
    weight = parameters[f"{name}.weight"]  # [questions, layers, seeds, out, in]
    questions, layers, seeds, out, into = weight.shape
    rows = weight.permute(1, 2, 0, 3, 4).reshape(layers, x.shape[1], -1, into)
    product = (rows @ x.mT).view(layers, seeds, questions, out, -1).permute(2, 0, 1, 3, 4)
    return product + parameters[f"{name}.bias"][..., None]


def second(parameters: Parameters, name: str, hidden: Tensor) -> Tensor:
    """W h + b of hidden units [questions, layers, seeds, in, batch], which each probe has of its own."""
    return parameters[f"{name}.weight"] @ hidden + parameters[f"{name}.bias"][..., None]


def new_linear(parameters: Parameters, name: str, into: int, out: int, generator: Generator) -> None:
    """Put a weight [out, into] and a bias [out] among the parameters, uniform within 1/sqrt(into) and 0."""
    bound = 1 / math.sqrt(into)
    parameters[f"{name}.weight"] = torch.empty(out, into).uniform_(-bound, bound, generator=generator)
    parameters[f"{name}.bias"] = torch.zeros(out)


class OfEachLayer:
    """What probes have alike that read one layer each."""

    def rows(self, layers: int) -> int:
        return layers

    def kept(self: "P", rows: Tensor, layers: int) -> "tuple[P, Tensor | None]":  # noqa: ARG002
        return self, rows


P = TypeVar("P", bound=OfEachLayer)


@dataclass(frozen=True)
class Linear(OfEachLayer):
    """W x + b: softmax regression, or ridge regression of a score. What it finds is there to be read off."""

    reads: Literal["pooled"] = "pooled"

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        new_linear(parameters, "out", sizes.size, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:  # noqa: ARG002
        return linear(parameters, "out", x)


@dataclass(frozen=True)
class MLP(OfEachLayer):
    """W relu(V x + a) + b with `width` hidden units: also finds what is there in a more entangled way."""

    width: int = 64
    reads: Literal["pooled"] = "pooled"

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        new_linear(parameters, "hidden", sizes.size, self.width, generator)
        new_linear(parameters, "out", self.width, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:  # noqa: ARG002
        return second(parameters, "out", linear(parameters, "hidden", x).relu())


@dataclass(frozen=True)
class Span(OfEachLayer):
    """The edge probe (Tenney et al. 2019a, arXiv:1905.06316, section 3), for one place or two.

        e = P x                            each vector of a place, projected to `width`
        a = softmax(A e),  r = Σ a · e     self-attentive pooling over the place: its vector
        outputs = W relu(V [r₁; r₂])       P and A are each place's own

    The paper projects to 256 and asks each label as a question of its own; here one of several labels is true.
    """

    width: int = 64
    reads: Literal["spanned"] = "spanned"

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        for place in range(sizes.places):
            new_linear(parameters, f"project.{place}", sizes.size, self.width, generator)
            new_linear(parameters, f"attend.{place}", self.width, 1, generator)
            del parameters[f"attend.{place}.bias"]  # it would cancel in the softmax
        new_linear(parameters, "hidden", sizes.places * self.width, self.width, generator)
        new_linear(parameters, "out", self.width, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:
        # x [layers, seeds or 1, batch, places, longest, size]
        pooled = [self._pool(parameters, i, x[:, :, :, i], real[:, :, i]) for i in range(x.shape[3])]
        hidden = second(parameters, "hidden", torch.cat(pooled, dim=-2)).relu()
        return second(parameters, "out", hidden)

    def _pool(self, parameters: Parameters, place: int, x: Tensor, real: Tensor) -> Tensor:
        """[questions, layers, seeds, width, batch] of x [layers, seeds or 1, batch, longest, size]."""
        projected = linear(parameters, f"project.{place}", x.flatten(2, 3))  # [questions, …, width, batch · longest]
        scores = (parameters[f"attend.{place}.weight"] @ projected).unflatten(-1, x.shape[2:4])
        shares = scores.masked_fill(~real[:, None], -math.inf).softmax(-1)  # [questions, …, 1, batch, longest]
        return (shares * projected.unflatten(-1, x.shape[2:4])).sum(-1)
