"""How much of an answer each token is owed: gradient × input, and integrated gradients.

The answer is one number F of the model's output. A token's x is its embedding, or its state at a later point of the
model; its share is summed over x's numbers.

    gradient × input          x · ∂F/∂x                             (Shrikumar et al. 2016)
    integrated gradients      (x − x′) · ∫₀¹ ∂F/∂x (x′ + α(x − x′)) dα        (Sundararajan et al. 2017, equation 1)

Integrated gradients add up to F(x) − F(x′), where x′ is the baseline: a text that says nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitl.inspect.trace import trace
from minitl.models.base import Model
from minitl.nn.output import Output

Answer = Callable[[Output], Tensor]  # from the output for n alike texts to F of each, [n]
FIRST, MOST = 8, 1024  # evaluations of an integral
AT_ONCE = 16  # of them in one batch
EMBEDDINGS = ("embeddings",)  # of an encoder-decoder the source's, then the target's


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
    states = states_at(model, inputs, EMBEDDINGS)
    gradients = _gradients(model, inputs, answer, EMBEDDINGS, states)
    return _attribution([(g * x).sum(-1)[0] for g, x in zip(gradients, states, strict=True)])


def integrated_gradients(
    model: Model,
    inputs: Mapping[str, Tensor],
    answer: Answer,
    baseline: Mapping[str, Tensor],
    tolerance: float = 1e-3,
    points: Sequence[str] = EMBEDDINGS,
) -> Attribution:
    """The integral for one text, by Gauss-Legendre quadrature with as many evaluations as it takes.

    inputs      as the model takes them, [1, length]
    baseline    the same for a text that says nothing: x′ are its states
    tolerance   how far the sum of the shares may be from `total`; evaluations are added until it is no further, up to
                1,024, and `Attribution.gap` tells
    points      where in the model x is: names of activations [1, length, hidden] in the order in which it comes by,
                which all that it knows of a text passes; see `minitl.inspect.layer_attribution`
    """
    whole, empty = states_at(model, inputs, points), states_at(model, baseline, points)
    with torch.no_grad():
        full, none = (float(_answered(model, inputs, answer, points, states)) for states in (whole, empty))
    evaluations = FIRST
    while True:
        shares = _integral(lambda x: _gradients(model, inputs, answer, points, x), whole, empty, evaluations)
        found = _attribution(shares, full - none)
        if evaluations >= MOST or found.gap <= tolerance:
            return found
        evaluations *= 2


def states_at(model: Model, inputs: Mapping[str, Tensor], points: Sequence[str]) -> list[Tensor]:
    """The activations [1, length, hidden] of one text, in the order in which the model comes by."""
    with torch.no_grad(), trace(model, *points) as seen:
        model(**inputs)
    return [state for point in points for state in seen.calls(point)]


def _integral(
    gradients: Callable[[list[Tensor]], list[Tensor]], whole: list[Tensor], empty: list[Tensor], count: int
) -> list[Tensor]:
    """(x − x′) · ∫ `gradients` along the straight way from `empty` to `whole`: of each a share a token, [length]."""
    places, weights = (torch.tensor(x, dtype=torch.float32) for x in np.polynomial.legendre.leggauss(count))
    places, weights = (places + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    sums = [torch.zeros_like(x[0, :, 0]) for x in whole]
    for start in range(0, count, AT_ONCE):
        alpha = places[start : start + AT_ONCE, None, None].to(whole[0])
        between = [x0 + alpha * (x - x0) for x, x0 in zip(whole, empty, strict=True)]
        for i, gradient in enumerate(gradients(between)):
            share = (gradient * (whole[i] - empty[i])).sum(-1)  # [evaluations, length]
            sums[i] += (share * weights[start : start + AT_ONCE, None].to(share)).sum(0)
    return sums


def _gradients(
    model: Model, inputs: Mapping[str, Tensor], answer: Answer, points: Sequence[str], states: list[Tensor]
) -> list[Tensor]:
    """∂F/∂x at `states`, [n, length, hidden]."""
    leaves = [x.detach().requires_grad_() for x in states]
    with torch.enable_grad():
        found = _answered(model, inputs, answer, points, leaves)
        return list(torch.autograd.grad(found.sum(), leaves, materialize_grads=True))


def _answered(
    model: Model, inputs: Mapping[str, Tensor], answer: Answer, points: Sequence[str], states: list[Tensor]
) -> Tensor:
    """F [n] of the model with these states in the place of its own."""
    rows = len(states[0])
    repeated = {name: value.expand(rows, *value.shape[1:]) for name, value in inputs.items()}
    turns = iter(states)
    with trace(model, *points) as seen:
        for point in points:
            seen.edit(point, lambda _: next(turns))
        return answer(model(**repeated))


def _attribution(shares: list[Tensor], total: float = float("nan")) -> Attribution:
    source, *target = (share.detach().float() for share in shares)
    return Attribution(source, target[0] if target else None, total)
