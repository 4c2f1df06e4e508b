"""Probes: small classifiers over frozen vectors, any number of them side by side in one computation.

A probe is described once and computed for all questions, layers and seeds together: each of its parameters has three
dimensions more in front, and none of them ever meets another in a sum.

    parameters   [questions, layers, seeds, …]          a question is one set of labels for the same examples
    x            [layers, seeds or 1, batch, …, size]   what all questions read
    outputs      [questions, layers, seeds, batch, outputs]
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

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

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:
        """The outputs; `real` [seeds or 1, batch, …] says where `x` holds vectors."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [layers, seeds or 1, batch, in], weight [questions, layers, seeds, in, out] -> [questions, …, batch, out].

    One batched matrix product over layers and seeds; the questions are further columns of the weight, so that x is
    read once for all of them.
    """
    return torch.einsum("lsbi,qlsio->qlsbo", x, weight) + bias[..., None, :]


def dense(parameters: Parameters, name: str, into: int, out: int, generator: Generator) -> None:
    """Put a weight [into, out] and a bias among the parameters, uniform within 1/sqrt(into)."""
    bound = 1 / math.sqrt(into)
    parameters[f"{name}.weight"] = torch.empty(into, out).uniform_(-bound, bound, generator=generator)
    parameters[f"{name}.bias"] = torch.zeros(out)


@dataclass(frozen=True)
class Linear:
    """W x + b: softmax regression, or ridge regression of a score. What it finds is there to be read off."""

    reads: Literal["pooled"] = "pooled"

    def rows(self, layers: int) -> int:
        return layers

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        dense(parameters, "out", sizes.size, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:  # noqa: ARG002
        return linear(x, parameters["out.weight"], parameters["out.bias"])


@dataclass(frozen=True)
class MLP:
    """W relu(V x + a) + b with `width` hidden units: also finds what is there in a more entangled way."""

    width: int = 64
    reads: Literal["pooled"] = "pooled"

    def rows(self, layers: int) -> int:
        return layers

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        dense(parameters, "hidden", sizes.size, self.width, generator)
        dense(parameters, "out", self.width, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:  # noqa: ARG002
        hidden = linear(x, parameters["hidden.weight"], parameters["hidden.bias"]).relu()
        return second(hidden, parameters)


def second(hidden: Tensor, parameters: Parameters) -> Tensor:
    """The output layer over hidden units [questions, layers, seeds, batch, width]."""
    return hidden @ parameters["out.weight"] + parameters["out.bias"][..., None, :]


@dataclass(frozen=True)
class Span:
    """The edge probe (Tenney et al. 2019a, arXiv:1905.06316, section 3.1 and appendix C), for one place or two.

        e = P x                            each vector of a place, projected to `width`
        a = softmax(A e),  r = Σ a · e     self-attentive pooling over the place: its vector
        outputs = W relu(V [r₁; r₂])       P and A are each place's own

    The paper projects to 256 and asks each label as a question of its own; here one of several labels is true.
    """

    width: int = 64
    reads: Literal["spanned"] = "spanned"

    def rows(self, layers: int) -> int:
        return layers

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        parameters: Parameters = {}
        for place in range(sizes.places):
            dense(parameters, f"project.{place}", sizes.size, self.width, generator)
            bound = 1 / math.sqrt(self.width)
            parameters[f"attend.{place}.weight"] = torch.empty(self.width, 1).uniform_(
                -bound, bound, generator=generator
            )
        dense(parameters, "hidden", sizes.places * self.width, self.width, generator)
        dense(parameters, "out", self.width, sizes.outputs, generator)
        return parameters

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:
        # x [layers, seeds or 1, batch, places, longest, size]
        pooled = torch.cat([self._pool(parameters, i, x[:, :, :, i], real[:, :, i]) for i in range(x.shape[3])], dim=-1)
        hidden = pooled @ parameters["hidden.weight"] + parameters["hidden.bias"][..., None, :]
        return second(hidden.relu(), parameters)

    def _pool(self, parameters: Parameters, place: int, x: Tensor, real: Tensor) -> Tensor:
        """[questions, layers, seeds, batch, width] of x [layers, seeds or 1, batch, longest, size]."""
        weight, bias = parameters[f"project.{place}.weight"], parameters[f"project.{place}.bias"]
        projected = linear(x.flatten(2, 3), weight, bias)  # [questions, layers, seeds, batch · longest, width]
        scores = projected @ parameters[f"attend.{place}.weight"]  # a bias would cancel in the softmax
        scores = scores.squeeze(-1).unflatten(-1, x.shape[2:4]).masked_fill(~real, -math.inf)
        return torch.einsum("qlsbt,qlsbtw->qlsbw", scores.softmax(-1), projected.unflatten(-2, x.shape[2:4]))
