"""The layers of other libraries, each on the same tensors: PEFT itself, and others written here from descriptions.

A layer is a function from x to y, and the tensors that it trains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmarks.lora.problem import SCALING, Problem


class Skipped(Exception):
    """An arm that cannot run on a case; the message is the reason."""


@dataclass(frozen=True)
class Layer:
    """y = call(x), and what is learnt beside x: A and B, or nothing."""

    call: Callable[[Tensor], Tensor]
    learnable: tuple[Tensor, ...]


def frozen_linear(problem: Problem) -> Layer:
    """The layer without LoRA: what no implementation can be faster than."""
    return Layer(lambda x: F.linear(x, problem.weight, problem.bias), ())


def peft(problem: Problem, wide_adapters: bool, dropout: nn.Module | None = None) -> Layer:
    """PEFT's own layer around the base, called directly: what surrounds it in a model is not counted.

    wide_adapters  adapters in float32 over a half-precision base, PEFT's default; else in the base's type
    dropout        what to take for its dropout, where the mask is given
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise Skipped("PEFT is not installed here") from error
    model = nn.Module()
    model.linear = _module(problem)
    case = problem.case
    config = LoraConfig(r=case.r, lora_alpha=int(SCALING * case.r), lora_dropout=case.p, target_modules=["linear"])
    get_peft_model(model, config, autocast_adapter_dtype=wide_adapters)
    layer: Any = model.linear.train()
    learnable = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    wanted = torch.float32 if wide_adapters else problem.dtype
    assert all(tensor.dtype == wanted for tensor in learnable), "PEFT chose another type for its adapters"
    with torch.no_grad():
        for mine, given in zip(learnable, (problem.lora_a, problem.lora_b), strict=True):
            mine.copy_(given)
    if dropout is not None:
        layer.lora_dropout["default"] = dropout
    return Layer(layer, learnable)


def peft_compiled(problem: Problem, mode: str) -> Layer:
    """PEFT's layer with adapters in the base's type, compiled.

    mode  "default", or "max-autotune" (its variant that leaves CUDA graphs to us: they are captured around all arms)
    """
    layer = peft(problem, wide_adapters=problem.dtype == torch.float32)
    chosen = "max-autotune-no-cudagraphs" if mode == "max-autotune" else mode
    return Layer(torch.compile(layer.call, dynamic=False, mode=chosen), layer.learnable)


def torchtune_style(problem: Problem) -> Layer:
    """The eager algorithm as a recipe of three linear modules, without PEFT's book-keeping (torchtune's LoRALinear)."""
    a, b = problem.adapters(problem.dtype)

    def call(x: Tensor) -> Tensor:
        low = F.linear(F.dropout(x, problem.case.p), a)
        return F.linear(x, problem.weight, problem.bias) + SCALING * F.linear(low, b)

    return Layer(call, (a, b))


def unsloth_style(problem: Problem) -> Layer:
    """Unsloth's fast path as described: cuBLAS alone, updates added in place, x alone saved; it knows no dropout."""
    if problem.case.p:
        raise Skipped("Unsloth's fast path has no dropout")
    a, b = problem.adapters(problem.dtype)
    return Layer(lambda x: _UnslothStyle.apply(x, problem.weight, problem.bias, a, b), (a, b))


class _UnslothStyle(torch.autograd.Function):
    """Two products instead of S are computed again in the backward pass, and dY · B twice, as described."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        rows = x.reshape(-1, x.shape[-1])  # [M, K]
        y = F.linear(rows, weight, bias).addmm_(rows @ a.t(), b.t(), alpha=SCALING)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        rows, grads = x.reshape(-1, x.shape[-1]), grad_y.reshape(-1, grad_y.shape[-1])
        grad_a = ((grads @ b).t() @ rows).mul_(SCALING)
        grad_b = (grads.t() @ (rows @ a.t())).mul_(SCALING)
        grad_x = (grads @ weight).addmm_(grads @ b, a, alpha=SCALING)
        return grad_x.view(x.shape), None, None, grad_a, grad_b


def lorafusion_style(problem: Problem) -> Layer:
    """LoRAFusion's kernels as described, written here; see lorafusion.py."""
    if problem.device.type != "cuda":
        raise Skipped("LoRAFusion's kernels need a GPU")
    try:
        from benchmarks.lora.lorafusion import lorafusion_linear
    except ImportError as error:
        raise Skipped("Triton is not installed here") from error
    a, b = problem.adapters(problem.dtype)
    return Layer(lambda x: lorafusion_linear(x, problem.weight, problem.bias, a, b, SCALING, problem.case.p), (a, b))


def _module(problem: Problem) -> nn.Linear:
    """The base as a module, around the problem's own tensors."""
    out, inn = problem.weight.shape
    module = nn.Linear(inn, out, problem.bias is not None, device="meta")
    module.weight = nn.Parameter(problem.weight, requires_grad=False)
    if problem.bias is not None:
        module.bias = nn.Parameter(problem.bias, requires_grad=False)
    return module
