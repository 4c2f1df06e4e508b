"""Everything that is timed on a case.

To time one more way of computing ours, add its name and the context that forces it to `forced`.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from minitl_kernels import force_path, lora_linear
from torch import Tensor

from benchmarks.lora.cases import COMPILED, MAX_AUTOTUNE
from benchmarks.lora.peers import (
    Layer,
    frozen_linear,
    lorafusion_style,
    peft,
    peft_compiled,
    torchtune_style,
    unsloth_style,
)
from benchmarks.lora.problem import SCALING, Problem

LIMIT, OURS, PEFT_DEFAULT = "frozen linear", "minitl", "PEFT, float32 adapters"
Kind = Literal["limit", "ours", "forced", "peer"]
Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Arm:
    """A layer and the context in which it runs, forward and backward."""

    kind: Kind
    build: Callable[[Problem], Layer]  # raises Skipped
    context: Context = contextlib.nullcontext


def arms_of(problem: Problem) -> dict[str, Arm]:
    """The arms by name; ours second, after the limit."""
    wide, half, case = torch.float32, problem.dtype, problem.case
    arms = {LIMIT: Arm("limit", frozen_linear), OURS: Arm("ours", partial(ours, adapters=wide))}
    if half != wide:
        arms[f"minitl, {case.dtype} adapters"] = Arm("ours", partial(ours, adapters=half))
    for name, context in forced(problem).items():
        arms[f"minitl, {name}"] = Arm("forced", partial(ours, adapters=wide), context)
    arms |= {
        peft_eager(case.dtype): Arm("peer", partial(peft, wide_adapters=half == wide)),
        PEFT_DEFAULT: Arm("peer", partial(peft, wide_adapters=True)),
        "torchtune-style": Arm("peer", torchtune_style),
        "Unsloth-style": Arm("peer", unsloth_style),
        "LoRAFusion-style": Arm("peer", lorafusion_style),
    }
    for extra, mode in ((COMPILED, "default"), (MAX_AUTOTUNE, "max-autotune")):
        if extra in case.extras:
            arms[f"PEFT, compiled, {mode}"] = Arm("peer", partial(peft_compiled, mode=mode))
    return arms


def peft_eager(dtype: str) -> str:
    """The name of PEFT's eager layer with adapters in the base's type."""
    return f"PEFT, {dtype} adapters"


def ours(problem: Problem, adapters: torch.dtype, seed: int | None = None) -> Layer:
    """`lora_linear`, with A and B in the type `adapters`: float32 is what minitl trains."""
    a, b = problem.adapters(adapters)

    def call(x: Tensor) -> Tensor:
        return lora_linear(x, problem.weight, problem.bias, a, b, SCALING, problem.case.p, training=True, seed=seed)

    return Layer(call, (a, b))


def forced(problem: Problem) -> Mapping[str, Context]:
    """Each way of computing ours on this device, and the context that forces it."""
    ways: dict[str, Context] = {"plain": partial(force_path, "plain")}
    if problem.device.type == "cpu":
        return ways | {"cpu": partial(force_path, "cpu")}
    from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, force_plan

    @contextlib.contextmanager
    def planned(plan: Plan):  # type: ignore[no-untyped-def]
        with force_path("cuda"), force_plan(plan):
            yield

    single_can_be = not problem.case.p and problem.case.r <= 16
    for forward in FORWARDS:
        for grad_x in GRAD_XS:
            if forward != "single" or single_can_be:
                ways[f"{forward} + {grad_x}"] = partial(planned, Plan(forward, grad_x))
    return ways


def path_taken(problem: Problem) -> str:
    """The way that is taken where none is forced, by its name in `forced`."""
    from minitl_kernels.lora.paths import path_name

    path = path_name(problem.device, problem.dtype, problem.case.r)
    if path != "cuda":
        return path
    from minitl_kernels.lora.mask import threshold_of
    from minitl_kernels.lora.plans import plan_for

    rows = problem.xs[0].reshape(-1, problem.case.inn)
    plan = plan_for(rows, problem.weight, problem.case.r, threshold_of(problem.case.p))
    return f"{plan.forward} + {plan.grad_x}"
