"""Linear layers whose weights lie as the processor reads them, for products with few rows, as decoding has them.

    weight [out, in] ─ pack, once ─► blocks in the order of oneDNN's kernel ─ multiply, for every token ─►

Such a product waits for its weights, so all that counts is how fast they come. Read from plain rows, half the memory's
rate or less is reached: a single row is multiplied by one thread alone, and several rows are packed anew in every call.
Packed beforehand, they come at nearly the full rate with up to some ten rows of x, in float32 and in bfloat16.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

LIMIT = 2 * 2**30  # bytes: the packed copies stand beside the weights, and larger ones might not fit there


class PackedLinears:
    """A context within which linear layers multiply by packed copies of their weights; no gradients flow there.

        packed = PackedLinears(model.modules(), rows=1)     # packs
        with packed: ...                                    # as often as you like

    modules   whose linear layers are packed
    rows      of x in most products, for which the copies are laid out; other numbers of rows work too

    Nothing changes where a layer is not on the CPU, is of another type than float32 or bfloat16 or of a class derived
    from nn.Linear, or where all copies together would take more than 2 GiB. The weights must not change meanwhile.
    """

    def __init__(self, modules: Iterable[nn.Module], rows: int) -> None:
        layers = [module for module in modules if type(module) is nn.Linear and can_pack(module.weight)]
        if sum(layer.weight.nbytes for layer in layers) > LIMIT:
            layers = []
        self._forwards = [
            (layer, partial(multiply, packed=pack(layer.weight, rows), bias=layer.bias)) for layer in layers
        ]

    def __enter__(self) -> None:
        for layer, forward in self._forwards:
            layer.forward = forward  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        for layer, _forward in self._forwards:
            layer.__dict__.pop("forward", None)


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
