"""`lora_linear` on a GPU: Triton's kernels and cuBLAS, put together as the plan says.

    forward     x ─ shrink ─► S, bits          y = x Wᵀ + b + s · S Bᵀ
    backward    dY ─ one pass ─► dS, dB, db    dX = dY W + mask(dS A)     dA = dSᵀ mask(x)

No copy of x or y is made, nothing waits for the device, and every sum is taken in a fixed order.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.lora.inputs import Gradients, Inputs, Needs, Shape
from minitl_kernels.lora.plans import Plan, Problem, can_be_single, plan_for
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import aligned
from minitl_kernels.lora.triton_expand import expand_product
from minitl_kernels.lora.triton_grad_a import grad_a as masked_grad_a
from minitl_kernels.lora.triton_grad_x import grad_x as masked_grad_x
from minitl_kernels.lora.triton_gradients import grad_s_and_b
from minitl_kernels.lora.triton_low_rank import add_low_rank
from minitl_kernels.lora.triton_shrink import shrink
from minitl_kernels.lora.triton_single import single


def saved_shapes(rows: int, columns: int, r: int, threshold: int) -> tuple[Shape, Shape]:
    """The shapes of S, padded, and of the mask's bits."""
    return (rows, padded_rank(r)), (rows, (columns + 7) // 8) if threshold else (0,)


def forward(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y [M, N], S [M, R] and the mask's bits."""
    x, weight, bias, lora_a, lora_b, scaling, threshold, seed = inputs
    r = inputs.rank
    plan = plan_for(x, weight, r, threshold)
    with _on(x.device):
        if plan.forward == "single" and can_be_single(Problem.of(x, weight, r, threshold)):
            y, s = single(x, weight, bias, lora_a, lora_b, scaling, _cut(plan, "single", x, weight, lora_a))
            return y, s, x.new_empty(0, dtype=torch.uint8)
        s, bits = shrink(x, lora_a, threshold, seed, plan.configs.get("shrink"))
        if plan.forward == "cublas":
            y = F.linear(x, weight, bias)
            y.addmm_(s[:, :r], lora_b.to(x.dtype).t(), alpha=scaling)
        else:
            y = expand_product(x, weight, bias, s, lora_b, scaling, _cut(plan, "expand", x, weight))
        return y, s, bits


def backward(grad_y: Tensor, inputs: Inputs, s: Tensor, bits: Tensor, needs: Needs) -> Gradients:
    """The gradients of x, A, B and b that are needed, for grad_y [M, N]."""
    x, weight, _, lora_a, lora_b, scaling, threshold, _ = inputs
    grad_x = grad_a = None  # both come out of dS, which is computed where one of them is needed
    plan = plan_for(x, weight, inputs.rank, threshold)
    with _on(x.device):
        grad_s, grad_b, grad_bias = grad_s_and_b(
            grad_y, s, lora_b, scaling, needs, weight.dtype, plan.configs.get("gradients")
        )
        if needs.x and grad_s is not None:
            grad_x = _grad_x(plan, grad_y, weight, grad_s, lora_a, bits, threshold)
        if needs.lora_a and grad_s is not None:
            grad_a = masked_grad_a(grad_s, x, lora_a, bits, threshold, plan.configs.get("grad_a"))
        return grad_x, grad_a, grad_b, grad_bias


def _grad_x(
    plan: Plan, grad_y: Tensor, weight: Tensor, grad_s: Tensor, lora_a: Tensor, bits: Tensor, threshold: int
) -> Tensor:
    if plan.grad_x == "product":
        return masked_grad_x(grad_y, weight, grad_s, lora_a, bits, threshold, _cut(plan, "grad_x", grad_y, weight))
    grad_x = grad_y @ weight
    if threshold:
        add_low_rank(grad_x, grad_s, lora_a, bits, threshold, plan.configs.get("low_rank"))
        return grad_x
    return grad_x.addmm_(grad_s[:, : lora_a.shape[0]], lora_a.to(grad_x.dtype))


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensors'."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


def _cut(plan: Plan, kernel: str, *operands: Tensor) -> Any:
    """How a plan cuts a kernel's work; None, for the kernel's rule, where descriptors are asked for these operands.

    A plan is chosen by sizes, and a slice of a larger tensor may lie as no descriptor can say.
    """
    config = plan.configs.get(kernel)
    if config is not None and config.tma and not all(aligned(operand) for operand in operands):
        return None
    return config
