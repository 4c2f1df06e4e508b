"""Linear layers whose weights lie as the processor reads them, for products with few rows, as decoding has them.

    weight [out, in] ─ pack, once ─► blocks in the order of oneDNN's kernel ─ multiply, for every token ─►

Such a product waits for its weights, so all that counts is how fast they come. From plain rows they come slowly: a
single row of x is multiplied by one thread alone, and for several rows they are packed anew in every call. Packed
beforehand, they come faster, in float32 and in bfloat16: benchmarks/decoding.py compares it with reading them alone.
"""

from collections.abc import Iterable
from typing import TypeGuard

import torch
from torch import Tensor, nn

LIMIT = 2 * 2**30  # bytes: the packed copies stand beside the weights, and larger ones might not fit there


class PackedLinears:
    """A context within which linear layers multiply by packed copies of their weights, in inference mode.

        packed = PackedLinears(model.modules(), rows=1)     # packs
        with packed, torch.inference_mode(): ...            # as often as you like

    modules   whose linear layers are packed
    rows      of x in most products, for which the copies are laid out; other numbers of rows work too

    A layer is left as it is where it is not on the CPU, is of another type than float32 or bfloat16 or of a class
    derived from nn.Linear, has a forward of its own, or where all copies together would take more than 2 GiB. A packed
    one does what it always did outside inference mode, which another thread may train it in, under autocast, for an x
    of another type, and once its weight has changed.
    """

    def __init__(self, modules: Iterable[nn.Module], rows: int) -> None:
        layers = [module for module in modules if _is_plain(module)]
        if sum(layer.weight.nbytes for layer in layers) > LIMIT:
            layers = []
        self._forwards = [_PackedForward(layer, rows) for layer in layers]

    def __enter__(self) -> None:
        for forward in self._forwards:
            forward.layer.__dict__["forward"] = forward

    def __exit__(self, *_: object) -> None:
        for forward in self._forwards:
            if forward.layer.__dict__.get("forward") is forward:
                del forward.layer.__dict__["forward"]


class _PackedForward:
    """One layer's product by its packed copy, while that is what the layer would compute."""

    def __init__(self, layer: nn.Linear, rows: int) -> None:
        self.layer, self.packed = layer, pack(layer.weight, rows)
        self.of = _identity(layer.weight)

    def __call__(self, x: Tensor) -> Tensor:
        layer, weight = self.layer, self.layer.weight
        plain = x.dtype == weight.dtype and not torch.is_autocast_enabled("cpu")
        if plain and torch.is_inference_mode_enabled() and _identity(weight) == self.of:
            return multiply(x, self.packed, layer.bias)
        return nn.Linear.forward(layer, x)


def _identity(weight: Tensor) -> tuple[int, int, torch.dtype]:
    """What changes when a weight does: where it lies, how often it was written, its type."""
    return weight.data_ptr(), weight._version, weight.dtype


def _is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether nothing but PyTorch's own product stands behind a layer; that of another packing is as good."""
    if type(module) is not nn.Linear or module.weight.is_inference() or not can_pack(module.weight):
        return False
    return isinstance(module.__dict__.get("forward"), (_PackedForward, type(None)))


def can_pack(weight: Tensor) -> bool:
    """Whether this machine has the kernel for such a weight."""
    kernels = ("_reorder_linear_weight", "_linear_pointwise")  # PyTorch's own, of which it makes no promise
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in kernels):
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32


def pack(weight: Tensor, rows: int) -> Tensor:
    """A copy of `weight` [out, in] that only `multiply` can read."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)


def multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x · weightᵀ + bias: [..., in] -> [..., out]."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
