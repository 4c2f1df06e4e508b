"""How much of an answer each token is owed: gradient × input, and integrated gradients.

The answer is one number F of the model's output. A token's input is its embedding x; its share is summed over x's
numbers.

    gradient × input          x · ∂F/∂x                             (Shrikumar et al. 2016)
    integrated gradients      (x − x′) · ∫₀¹ ∂F/∂x (x′ + α(x − x′)) dα        (Sundararajan et al. 2017, equation 1)

Integrated gradients add up to F(x) − F(x′), where x′ is the baseline: a text that says nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitl.inspect.trace import trace
from minitl.models.base import Model
from minitl.nn.output import Output

Answer = Callable[[Output], Tensor]  # from the output for n alike texts to F of each, [n]
AT_ONCE = 16  # points of the integral in one batch
MOST = 1024  # points of the integral


@dataclass(frozen=True)
class Attribution:
    """Of each token its share.

    source   float32 [length]
    target   float32 [target], of an encoder-decoder what its decoder read; else None
    total    what the shares should add up to: F(x) − F(x′); NaN where the method promises nothing
    """

    source: Tensor
    target: Tensor | None
    total: float = float("nan")

    @property
    def gap(self) -> float:
        """How far the sum of the shares is from `total`."""
        target = 0.0 if self.target is None else float(self.target.sum())
        return abs(float(self.source.sum()) + target - self.total)


def gradient_times_input(model: Model, inputs: Mapping[str, Tensor], answer: Answer) -> Attribution:
    """x · ∂F/∂x for one text, `inputs` as the model takes them, [1, length]."""
    embedded = embeddings(model, inputs)
    gradients = _gradients(model, inputs, answer, embedded)
    return _attribution([(g * x).sum(-1)[0] for g, x in zip(gradients, embedded, strict=True)])


def integrated_gradients(
    model: Model,
    inputs: Mapping[str, Tensor],
    answer: Answer,
    baseline: Mapping[str, Tensor],
    tolerance: float = 1e-3,
) -> Attribution:
    """The integral for one text, by Gauss-Legendre quadrature with as many points as it takes.

    inputs      as the model takes them, [1, length]
    baseline    the same for a text that says nothing: x′ are its embeddings
    tolerance   how far the sum of the shares may be from `total`; points are added until it is no further, up to
                1,024, and `Attribution.gap` tells
    """
    whole, empty = embeddings(model, inputs), embeddings(model, baseline)
    with torch.no_grad():
        total = float(_answered(model, inputs, answer, whole)) - float(_answered(model, inputs, answer, empty))
    points = AT_ONCE
    while True:
        found = _attribution(_integral(model, inputs, answer, whole, empty, points), total)
        if points >= MOST or found.gap <= tolerance:
            return found
        points *= 2


def embeddings(model: Model, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """What the layers read of one text, [1, length, hidden]: of an encoder-decoder the source's, then the target's."""
    with torch.no_grad(), trace(model, "embeddings") as seen:
        model(**inputs)
    return seen.calls("embeddings")


def _integral(
    model: Model, inputs: Mapping[str, Tensor], answer: Answer, whole: list[Tensor], empty: list[Tensor], points: int
) -> list[Tensor]:
    places, weights = (torch.tensor(x, dtype=torch.float32) for x in np.polynomial.legendre.leggauss(points))
    places, weights = (places + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    sums = [torch.zeros_like(x[0, :, 0]) for x in whole]
    for start in range(0, points, AT_ONCE):
        alpha = places[start : start + AT_ONCE, None, None].to(whole[0])
        between = [x0 + alpha * (x - x0) for x, x0 in zip(whole, empty, strict=True)]
        for i, gradient in enumerate(_gradients(model, inputs, answer, between)):
            share = (gradient * (whole[i] - empty[i])).sum(-1)  # [points, length]
            sums[i] += (share * weights[start : start + AT_ONCE, None].to(share)).sum(0)
    return sums


def _gradients(model: Model, inputs: Mapping[str, Tensor], answer: Answer, embedded: list[Tensor]) -> list[Tensor]:
    """∂F/∂x at `embedded`, [n, length, hidden]."""
    leaves = [x.detach().requires_grad_() for x in embedded]
    with torch.enable_grad():
        found = _answered(model, inputs, answer, leaves)
        return list(torch.autograd.grad(found.sum(), leaves, materialize_grads=True))


def _answered(model: Model, inputs: Mapping[str, Tensor], answer: Answer, embedded: list[Tensor]) -> Tensor:
    """F [n] of the model with these embeddings in the place of its own."""
    rows = len(embedded[0])
    repeated = {name: value.expand(rows, *value.shape[1:]) for name, value in inputs.items()}
    turns = iter(embedded)
    with trace(model, "embeddings") as seen:
        seen.edit("embeddings", lambda _: next(turns))
        return answer(model(**repeated))


def _attribution(shares: list[Tensor], total: float = float("nan")) -> Attribution:
    source, *target = (share.detach().float() for share in shares)
    return Attribution(source, target[0] if target else None, total)
