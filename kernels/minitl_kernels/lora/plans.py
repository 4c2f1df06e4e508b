"""Which kernels compute `lora_linear` on a GPU: the plan for a problem, measured where it was, by a rule elsewhere.

    forward   expand   shrink, then the base's product with the update in its epilogue         2 launches
              single   all in one kernel; without dropout, for ranks to 16                     1 launch
              cublas   shrink, cuBLAS for the base's product, cuBLAS that adds the update      3 launches
    grad_x    product  dY · W with the masked update as its prologue                           1 launch
              cublas   cuBLAS for dY · W, then the masked update added in place                2 launches

A plan's own products pay where PyTorch's would write y, and read it again to add the update: 2 · M · N bytes each way.
Per byte saved, cuBLAS may be ahead by a share of the product's time that falls as 1 / K. See `rule`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import dot_precision

Forward = Literal["expand", "single", "cublas"]
GradX = Literal["product", "cublas"]
FORWARDS: tuple[Forward, ...] = ("expand", "single", "cublas")
GRAD_XS: tuple[GradX, ...] = ("product", "cublas")

# The single kernel multiplies by A in every tile of N, which is the cheaper way up to about so many outputs; more than
# 16 columns of S would crowd its registers.
SINGLE_RANK, SINGLE_OUT = 16, 2048
# What a product of its own saves over writing y twice is 367 / K of its time, at 790 TFLOP/s and 4.3 TB/s: 9% at this
# size. Triton's are published as 3 to 12% behind cuBLAS on Hopper (facebookexperimental/triton, issues 210 and 1038).
LARGEST_INNER = 4096


class Problem(NamedTuple):
    """What a plan is chosen by. Rows count in powers of two, so that batches of like sizes share a plan."""

    rows: int
    columns: int
    out: int
    rank: int  # padded
    dtype: str
    dropout: bool

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, r: int, threshold: int) -> "Problem":
        """That of an x [M, K]."""
        out, columns = weight.shape
        return _problem(x.shape[0], columns, out, r, x.dtype, threshold > 0)


@lru_cache(maxsize=4096)
def _problem(rows: int, columns: int, out: int, r: int, dtype: torch.dtype, dropout: bool) -> Problem:
    name = str(dtype).removeprefix("torch.")
    return Problem(1 << (rows - 1).bit_length(), columns, out, padded_rank(r), name, dropout)


@dataclass(frozen=True)
class Plan:
    """The kernels to take, and how the work of each, by its name, is cut; those not named cut theirs by a rule."""

    forward: Forward
    grad_x: GradX
    configs: Mapping[str, Any] = field(default_factory=dict)


_forced: Plan | None = None


@contextmanager
def force_plan(plan: Plan | None) -> Iterator[None]:
    """Take `plan` on a GPU within, whatever the problem; None chooses again. A backward pass is planned as it runs.

    A plan's "single" stands for "expand" where that kernel cannot be: with dropout, or above its rank.
    """
    global _forced
    before, _forced = _forced, plan
    try:
        yield
    finally:
        _forced = before


def plan_for(x: Tensor, weight: Tensor, r: int, threshold: int) -> Plan:
    """The forced plan, else the one measured on this GPU for such a problem, else that of the rule."""
    if _forced is not None:
        return _forced
    problem = Problem.of(x, weight, r, threshold)
    if x.is_cuda:
        from minitl_kernels.lora.tuned import tuned_plan

        measured = tuned_plan(problem, x.device)
        if measured is not None:
            return measured
    return rule(problem)


def can_be_single(problem: Problem) -> bool:
    """Whether the single kernel can compute it at all."""
    return not problem.dropout and problem.rank <= SINGLE_RANK


def rule(problem: Problem) -> Plan:
    """The plan for a GPU on which nothing was measured.

    Exact float32 products have no matrix unit, and there cuBLAS is far ahead of what Triton makes of them. So it is
    where rows in half precision are no multiple of 16 bytes, which Triton moves element by element.
    """
    exact = problem.dtype == "float32" and dot_precision(torch.float32) == "ieee"
    if exact or problem.columns % 8 or problem.out % 8:
        return Plan("cublas", "cublas")
    forward: Forward = "expand" if problem.columns <= LARGEST_INNER else "cublas"
    if can_be_single(problem) and problem.out <= SINGLE_OUT:
        forward = "single"
    return Plan(forward, "product" if problem.out <= LARGEST_INNER else "cublas")
