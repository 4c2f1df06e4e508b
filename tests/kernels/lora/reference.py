"""What the operator must give: its formulas in float64, with the mask that it exports."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Result:
    """y, and the gradients of the sum of y times a direction."""

    y: Tensor
    x: Tensor
    lora_a: Tensor
    lora_b: Tensor
    bias: Tensor


@dataclass
class Exact:
    """A value in float64, and how large its terms are together: errors of rounding are in proportion to that."""

    value: Tensor
    size: Tensor

    def __add__(self, other: "Exact") -> "Exact":
        return Exact(self.value + other.value, self.size + other.size)

    def times(self, factor: float | Tensor) -> "Exact":
        """Every value by a factor, which may be one for each."""
        return Exact(self.value * factor, self.size * abs(factor))


def exact(value: Tensor) -> Exact:
    """What has one term only."""
    return Exact(value.double(), value.double().abs())


def exact_product(a: Tensor, b: Tensor) -> Exact:
    """a @ b."""
    a, b = a.double(), b.double()
    return Exact(a @ b, a.abs() @ b.abs())


def exact_sum(values: Tensor) -> Exact:
    """The sum over the first dimension."""
    return Exact(values.double().sum(0), values.double().abs().sum(0))


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    scaling: float,
    direction: Tensor,
    mask: Tensor | None = None,
    p: float = 0.0,
) -> dict[str, Exact]:
    """ "y" and the gradients by their names, for x [M, K]; `mask` [M, K] is True where x is kept."""
    threshold = round(p * 65536)
    factor = torch.ones_like(x, dtype=torch.float64) if mask is None else mask.double() * 65536 / (65536 - threshold)
    zero = torch.zeros(len(weight), device=x.device)
    tensors = [t.detach().double() for t in (x, weight, zero if bias is None else bias, lora_a, lora_b, direction)]
    value, size = (_formulas(*given, s, factor) for given, s in ((tensors, scaling), (_abs(tensors), abs(scaling))))
    return {name: Exact(getattr(value, name), getattr(size, name)) for name in vars(value)}


def _abs(tensors: list[Tensor]) -> list[Tensor]:
    return [t.abs() for t in tensors]


def _formulas(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    direction: Tensor,
    scaling: float,
    factor: Tensor,
) -> Result:
    dropped = x * factor
    grad_s = scaling * direction @ lora_b
    return Result(
        y=x @ weight.T + bias + scaling * dropped @ lora_a.T @ lora_b.T,
        x=direction @ weight + factor * (grad_s @ lora_a),
        lora_a=grad_s.T @ dropped,
        lora_b=scaling * direction.T @ (dropped @ lora_a.T),
        bias=direction.sum(0),
    )


def assert_close(actual: Tensor, expected: Exact, dtype: torch.dtype) -> None:
    """That `actual` is exact but for a few roundings in `dtype`: of A, B, S or dS, and of itself."""
    assert actual.shape == expected.value.shape
    roundings = 3 if dtype.itemsize == 2 else 16  # in float32, those of the sums count too
    bound = roundings * torch.finfo(dtype).eps * expected.size + torch.finfo(dtype).tiny
    excess = ((actual.detach().double() - expected.value).abs() / bound).max().item()
    assert excess <= 1, f"an error of {excess:.3g} times what is allowed"


def assert_rounded(actual: Tensor, expected: Exact, through: Tensor | float = 0.0) -> None:
    """That a kernel's output is exact but for its own rounding and those of sums in float32.

    through   how large those terms are together that went through the output's data type on the way: a tie between two
              neighbours may fall to either side, or the term was rounded
    """
    assert actual.shape == expected.value.shape
    info = torch.finfo(actual.dtype)
    sums = 16 * torch.finfo(torch.float32).eps * expected.size
    bound = info.eps * (expected.value.abs() + through) + sums + info.tiny
    excess = ((actual.detach().double() - expected.value).abs() / bound).max().item()
    assert excess <= 1, f"an error of {excess:.3g} times what is allowed"
