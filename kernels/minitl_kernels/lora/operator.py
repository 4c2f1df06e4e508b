"""`lora_linear`: the front of the operator, one for all paths.

    checks ─► autocast ─► seed ─► rows [M, in] ─► path ─► y [..., out]
                             │                     │
                             │        saved for the backward pass: x, S, one bit per element
                             └─ where W learns too, or x is empty: PyTorch's own operations

In eager mode the path is called from an autograd function, which costs less a call than the operation registered with
torch.library; while a graph is being captured (torch.compile, torch.export) the registered one is.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitl_kernels.lora.checks import autocast_type, check_inputs, check_scaling, check_types
from minitl_kernels.lora.inputs import Inputs, Needs
from minitl_kernels.lora.mask import seed_tensor, threshold_of
from minitl_kernels.lora.paths import path_called, path_name
from minitl_kernels.lora.plain import compose


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    scaling: float,
    dropout_p: float = 0.0,
    training: bool = False,
    seed: int | Tensor | None = None,
) -> Tensor:
    """y = xWᵀ + b + s · dropout(x)AᵀBᵀ (Hu et al. 2021, arXiv:2106.09685, equation 3): [..., in] -> [..., out].

    x          [..., in], of weight's type; contiguous or not
    weight     [out, in], frozen
    bias       [out] or None
    lora_a     [r, in], of weight's type or float32, whose gradient then is float32; r of any size
    lora_b     [out, r], likewise
    scaling    s
    dropout_p  probability of dropping an element of the update's input, a multiple of 2⁻¹⁶ after rounding
    training   whether dropout acts
    seed       of the mask (see `dropout_mask`): an int, a 0-d int64 tensor on x's device, which a CUDA graph reads anew
               at each replay, or None, which draws one from the device's generator

    Products are taken in weight's type (autocast's, where it is on) and accumulated in float32; A and B are rounded to
    that type for them. Differentiable once in x, lora_a, lora_b and bias; deterministic. Where weight itself requires
    a gradient, PyTorch's own operations compute everything.

    TypeError for types, ValueError for shapes, devices or numbers that do not fit; a rank above min(in, out) warns.
    """
    check_inputs(x, weight, bias, lora_a, lora_b)
    check_scaling(scaling)
    if (dtype := autocast_type(x)) is not None:
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        lora_a, lora_b = (t if t.dtype == torch.float32 else t.to(dtype) for t in (lora_a, lora_b))
    check_types(x, weight, bias, lora_a, lora_b)
    threshold = threshold_of(dropout_p)  # which refuses what is no probability, in training or not
    threshold = threshold if training else 0
    seed = seed_tensor(seed, x.device) if threshold else None
    if x.numel() == 0 or weight.numel() == 0 or (weight.requires_grad and torch.is_grad_enabled()):
        return compose(Inputs(x, weight, bias, lora_a, lora_b, scaling, threshold, seed))
    rows = x.reshape(-1, x.shape[-1])  # [M, in]: a view wherever the leading dimensions allow one
    path = path_name(x.device, x.dtype, lora_a.shape[0])
    inputs = Inputs(rows, weight, bias, lora_a, lora_b, float(scaling), threshold, seed)
    if torch.compiler.is_compiling():
        y = registered_forward(*inputs, path)[0]
    elif torch.is_grad_enabled():
        y = _LoraLinear.apply(*inputs, path)
    else:
        y = path_called(path).forward(inputs)[0]
    return y.view(*x.shape[:-1], weight.shape[0])


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *values, ctx.path = arguments
        inputs = Inputs(*values)
        y, s, bits = path_called(ctx.path).forward(inputs)
        ctx.save_for_backward(inputs.x, inputs.weight, inputs.lora_a, inputs.lora_b, s, bits)
        ctx.scaling, ctx.threshold = inputs.scaling, inputs.threshold
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, lora_a, lora_b, s, bits = ctx.saved_tensors
        inputs = Inputs(x, weight, None, lora_a, lora_b, ctx.scaling, ctx.threshold, None)
        grad_x, grad_a, grad_b, grad_bias = path_called(ctx.path).backward(grad_y, inputs, s, bits, _needs(ctx))
        return grad_x, None, grad_bias, grad_a, grad_b, None, None, None, None


@torch.library.custom_op("minitl::lora_linear", mutates_args=())
def registered_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    scaling: float,
    threshold: int,
    seed: Tensor | None,
    path: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, S and the bits, by the path of that name."""
    return path_called(path).forward(Inputs(x, weight, bias, lora_a, lora_b, scaling, threshold, seed))


@registered_forward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *values, path = arguments
    inputs = Inputs(*values)
    rows, columns = inputs.x.shape
    s, bits = path_called(path).saved_shapes(rows, columns, inputs.rank, inputs.threshold)
    new = inputs.x.new_empty
    return new(rows, inputs.weight.shape[0]), new(s), new(bits, dtype=torch.uint8)


@torch.library.custom_op("minitl::lora_linear_backward", mutates_args=())
def registered_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    s: Tensor,
    bits: Tensor,
    scaling: float,
    threshold: int,
    needs: list[bool],
    path: str,
) -> list[Tensor]:
    """The gradients of x, A, B and b; an empty tensor stands for what is not needed."""
    inputs = Inputs(x, weight, None, lora_a, lora_b, scaling, threshold, None)
    grads = path_called(path).backward(grad_y, inputs, s, bits, Needs(*needs))
    return [x.new_empty(0) if grad is None else grad for grad in grads]


@registered_backward.register_fake
def _(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    s: Tensor,  # noqa: ARG001
    bits: Tensor,  # noqa: ARG001
    scaling: float,  # noqa: ARG001
    threshold: int,  # noqa: ARG001
    needs: list[bool],
    path: str,  # noqa: ARG001
) -> list[Tensor]:
    # All contiguous, as the paths make them, however A and B lie.
    by_a, by_b = (tensor.new_empty(tensor.shape) for tensor in (lora_a, lora_b))
    full = x.new_empty(x.shape), by_a, by_b, grad_y.new_empty(weight.shape[0])
    return [grad if need else x.new_empty(0) for grad, need in zip(full, needs, strict=True)]


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    x, weight, _, lora_a, lora_b, ctx.scaling, ctx.threshold, _, ctx.path = inputs
    ctx.save_for_backward(x, weight, lora_a, lora_b, *output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_y: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    needs = _needs(ctx)
    grads = registered_backward(grad_y, *ctx.saved_tensors, ctx.scaling, ctx.threshold, list(needs), ctx.path)
    grad_x, grad_a, grad_b, grad_bias = (grad if need else None for grad, need in zip(grads, needs, strict=True))
    return grad_x, None, grad_bias, grad_a, grad_b, None, None, None, None


registered_forward.register_autograd(_backward, setup_context=_setup_context)


def _needs(ctx: Any) -> Needs:
    x, _, bias, lora_a, lora_b = ctx.needs_input_grad[:5]
    return Needs(x, lora_a, lora_b, bias)
