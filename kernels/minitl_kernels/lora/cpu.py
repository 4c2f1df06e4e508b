"""`lora_linear` on a processor: the formulas of plain.py, with every pass over memory counted.

    forward    x̂ = mask ∘ x     S = scale · x̂Aᵀ        y = xWᵀ + b      y += s · SBᵀ
    backward   dS = s · dY B    dX = mask ∘ (scale · dS A)     dX += dY W      dA = scale · dSᵀx̂      dB = s · dYᵀS

The update lands in y and in dX as part of a product. The mask is applied by bitwise AND and kept as one bit an element.
The products with W are asked of oneDNN itself, which in float32 can be faster than the library behind `mm`. Rows of
dY that are all zero, as padding and whatever a classifier does not read have, are left out of the backward pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.cpu_mask import keep_bytes, masked, pack_bits, unpack_bits, wide_mask
from minitl_kernels.lora.inputs import Gradients, Inputs, Needs, Shape
from minitl_kernels.lora.mask import keep_scale
from minitl_kernels.lora.plain import scaled_product
from minitl_kernels.packed import can_pack

_PROBE = 16  # columns of dY that are looked at to find zero rows
_ONE_DNN = torch.ops.mkldnn


def saved_shapes(rows: int, columns: int, r: int, threshold: int) -> tuple[Shape, Shape]:
    """The shapes of S and of the mask's bits."""
    return (rows, r), ((rows * columns + 7) // 8 if threshold else 0,)


def forward(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y [M, N], S [M, r] and the mask's bits, uint8."""
    x, weight, bias, lora_a, lora_b, scaling, threshold, seed = inputs
    kept, bits = x, torch.empty(0, dtype=torch.uint8)
    if threshold:
        assert seed is not None
        keep = keep_bytes(int(seed), x.numel(), threshold)
        bits, kept = pack_bits(keep), masked(x, wide_mask(keep, x))
    s = scaled_product(kept, lora_a.to(x.dtype).t(), keep_scale(threshold))
    y = _base(x, weight, bias)
    return y.addmm_(s, lora_b.to(x.dtype).t(), alpha=scaling), s, bits


def backward(grad_y: Tensor, inputs: Inputs, s: Tensor, bits: Tensor, needs: Needs) -> Gradients:
    """The gradients of x, A, B and b that are needed, for grad_y [M, N]."""
    x, keep = inputs.x, None
    if inputs.threshold and (needs.x or needs.lora_a):
        keep = unpack_bits(bits)[: x.numel()].view(x.shape)
    live = _live_rows(grad_y)
    if live is None:
        return _gradients(grad_y, inputs, s, keep, needs)
    keep = None if keep is None else keep[live]
    few = _gradients(grad_y[live], inputs._replace(x=x[live]), s[live], keep, needs)
    grad_x = None if few[0] is None else torch.zeros_like(x).index_copy_(0, live, few[0])
    return grad_x, *few[1:]


def _gradients(grad_y: Tensor, inputs: Inputs, s: Tensor, keep: Tensor | None, needs: Needs) -> Gradients:
    """`backward` for given rows and their mask, int8 [M, K]."""
    x, weight, _, lora_a, lora_b, scaling, threshold, _ = inputs
    grad_x = grad_a = grad_b = grad_bias = None
    scale = keep_scale(threshold)
    wide = None if keep is None else wide_mask(keep, x)
    if needs.bias:
        grad_bias = grad_y.sum(dim=0, dtype=torch.float32).to(grad_y.dtype)
    if needs.lora_b:
        grad_b = _wide_product(s, grad_y, scaling, lora_b.dtype).t().contiguous()
    if needs.x or needs.lora_a:
        grad_s = scaled_product(grad_y, lora_b.to(x.dtype), scaling)
        if needs.x:
            update = scaled_product(grad_s, lora_a.to(x.dtype), scale)
            if wide is not None:
                update.view(wide.dtype).bitwise_and_(wide)
            grad_x = _add_base(update, grad_y, weight)
        if needs.lora_a:
            kept = x if wide is None else masked(x, wide)
            grad_a = _wide_product(grad_s, kept, scale, lora_a.dtype)
    return grad_x, grad_a, grad_b, grad_bias


def _live_rows(grad: Tensor) -> Tensor | None:
    """The numbers of the rows that are not all zero, or None where nearly all are: a look at a few columns says so."""
    quiet = (grad[:, :_PROBE] == 0).all(dim=1)
    if 4 * int(quiet.count_nonzero()) < len(grad):
        return None
    live = (grad.abs().amax(dim=1) != 0).nonzero().squeeze(1)  # NaN is not 0
    return live if 4 * len(live) <= 3 * len(grad) else None


def _base(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """xWᵀ + b."""
    if can_pack(weight):
        return _ONE_DNN._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _add_base(update: Tensor, grad_y: Tensor, weight: Tensor) -> Tensor:
    """update + dY W, in place of `update` or not."""
    if update.dtype == torch.float32 and can_pack(weight):
        return _ONE_DNN._linear_pointwise.binary(grad_y, update, weight.t(), None, "add")
    return update.addmm_(grad_y, weight)


def _wide_product(left: Tensor, right: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """scale · leftᵀ @ right, [r, K]: gradients of float32 parameters are not rounded to half precision.

    PyTorch has no product on a processor that gives more than its operands' type. In bfloat16 two products make up for
    it, the second of which gives what rounding took from the first; in float16, where the first might overflow, the
    operands are widened.
    """
    left = left.t()
    if left.dtype == dtype:
        return scaled_product(left, right, scale)
    if left.dtype == torch.float16:
        return scaled_product(left.float(), right.float(), scale)
    high = scaled_product(left, right, scale)
    low = torch.addmm(high, left, right, beta=-1, alpha=scale)
    return high.to(dtype).add_(low)
