"""The backward pass in Triton: dS, dB and the bias's gradient from one reading of dY, then dX, then dA.

    dY ─► dS, dB, db        dY, W, dS, A, mask ─► dX        x, dS, mask ─► dA

Kernels for dX and dA start from dS as it is rounded to the compute dtype, the numbers that a second pass over dY would
otherwise have to compute again.
"""

from torch import Tensor

from minitl_kernels.lora.needs import Needs
from minitl_kernels.lora.triton_grad_a import grad_a
from minitl_kernels.lora.triton_grad_x import grad_x
from minitl_kernels.lora.triton_gradients import grad_s_and_b


def backward(
    grad_y: Tensor, x: Tensor, weight: Tensor, lora_a: Tensor, lora_b: Tensor, s: Tensor, bits: Tensor,
    _: Tensor | None, scaling: float, threshold: int, needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """The gradients of x [M, K], lora_a [r, K], lora_b [N, r] and the bias [N]; None for what is not needed.

    grad_y [M, N] and x [M, K] of any strides, weight [N, K], s [M, R] and bits [M, ⌈K/8⌉] as the forward stored them.
    The seed that all paths are given is not looked at: the mask is read, not drawn again.
    """
    grad_s, grad_b, grad_bias = grad_s_and_b(grad_y, s, lora_b, scaling, needs, grad_y.dtype)
    grad_input = grad_low = None
    if grad_s is not None and needs.x:
        grad_input = grad_x(grad_y, weight, grad_s, lora_a, bits, threshold)
    if grad_s is not None and needs.lora_a:
        grad_low = grad_a(grad_s, x, lora_a, bits, threshold)
    return grad_input, grad_low, grad_b, grad_bias
