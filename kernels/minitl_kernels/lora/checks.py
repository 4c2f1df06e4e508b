"""What `lora_linear` refuses, by name, before anything is computed."""

import math
import warnings
from numbers import Real

import torch
from torch import Tensor


def check_inputs(x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor) -> None:
    """TypeError for types that do not fit, ValueError for shapes and devices that do not; a huge rank only warns."""
    check_base(x, weight, bias)
    check_update(x, weight, lora_a, lora_b)


def check_base(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """That x, W and b make a linear layer."""
    _check_tensors(x=x, weight=weight, **({} if bias is None else {"bias": bias}))
    if x.dim() < 1 or weight.dim() != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"x must be [..., in] and weight [out, in], got {list(x.shape)} and {list(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{weight.shape[0]}], got {list(bias.shape)}")
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must hold floating-point numbers, got {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}")


def check_update(x: Tensor, weight: Tensor, lora_a: Tensor, lora_b: Tensor) -> None:
    """That A and B make an update of W."""
    _check_tensors(lora_a=lora_a, lora_b=lora_b)
    out, inn = weight.shape
    if lora_a.dim() != 2 or lora_b.dim() != 2 or lora_a.shape[1] != inn or lora_b.shape[0] != out:
        found = f"{list(lora_a.shape)} and {list(lora_b.shape)}"
        raise ValueError(f"lora_a must be [r, {inn}] and lora_b [{out}, r], got {found}")
    r = lora_a.shape[0]
    if r < 1 or lora_b.shape[1] != r:
        raise ValueError(f"lora_a and lora_b must have one rank r of at least 1, got {r} and {lora_b.shape[1]}")
    for name, tensor in (("lora_a", lora_a), ("lora_b", lora_b)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must hold floating-point numbers, got {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}")
    if r > min(out, inn) and not torch.compiler.is_compiling():  # a graph has no place for a warning
        warnings.warn(
            f"rank {r} is beyond that of a [{out}, {inn}] weight: it costs more and says no more", stacklevel=4
        )


def _check_tensors(**tensors: object) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got a {type(tensor).__name__}")


def check_types(x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor) -> None:
    """TypeError unless x, W and b have one type, and A and B that one or float32."""
    dtype = weight.dtype
    if x.dtype != dtype or (bias is not None and bias.dtype != dtype):
        found = ", ".join(str(t.dtype) for t in (x, weight, bias) if t is not None)
        raise TypeError(f"x, weight and bias must have one type, got {found}")
    for name, tensor in (("lora_a", lora_a), ("lora_b", lora_b)):
        if tensor.dtype not in (dtype, torch.float32):
            raise TypeError(f"{name} must be {dtype} as weight is, or float32, got {tensor.dtype}")


def autocast_type(x: Tensor) -> torch.dtype | None:
    """The type in which autocast wants x's products; None where it is off, and for float64, which it lets be."""
    device = x.device.type
    # Whether a device has autocast at all is nothing that torch.compile can ask before torch 2.12: meta has none.
    if x.dtype == torch.float64 or device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def check_scaling(scaling: float) -> None:
    """TypeError unless `scaling` is a number, ValueError unless it is finite."""
    if not isinstance(scaling, Real):
        raise TypeError(f"scaling must be a number, got {scaling!r}")
    if not math.isfinite(scaling):
        raise ValueError(f"scaling must be finite, got {scaling}")
