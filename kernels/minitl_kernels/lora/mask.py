"""The dropout mask of `lora_linear`: a function of a seed, and so the same whenever it is asked for.

An element is dropped where its 16-bit draw is below `threshold` = p · 2¹⁶, so p is rounded to a multiple of 2⁻¹⁶; the
kept ones are scaled by what that rounded p demands, so that the expectation is exact. A processor draws from a stream
that it has a fast generator for, other devices by counting, for their blocks come in any order.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from minitl_kernels.cpu_mask import cpu_keep
from minitl_kernels.lora.philox import philox_keep

DRAWS = 1 << 16


def threshold_of(p: float) -> int:
    """The draws below which an element is dropped. TypeError where p is no number, ValueError unless 0 <= p < 1."""
    if not isinstance(p, Real):
        raise TypeError(f"dropout_p must be a number, got {p!r}")
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout_p must lie in [0, 1), got {p}")
    return min(round(p * DRAWS), DRAWS - 1)


def keep_scale(threshold: int) -> float:
    """The factor on kept elements."""
    return DRAWS / (DRAWS - threshold)


def seed_tensor(seed: int | Tensor | None, device: torch.device) -> Tensor:
    """`seed` as a 0-d int64 tensor on `device`; None draws one from the device's generator.

    Drawing is an operation on the device: a CUDA graph draws anew at each replay, and checkpointing, which restores the
    generator before it computes again, draws the same. TypeError or ValueError for what is no seed.
    """
    if seed is None:
        return torch.randint(torch.iinfo(torch.int64).max, (), device=device)
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.dim() != 0 or seed.device != device:
            found = f"{seed.dtype} {list(seed.shape)} on {seed.device}"
            raise ValueError(f"seed must be a 0-d int64 tensor on {device}, got {found}")
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, a 0-d int64 tensor or None, got {seed!r}")
    # Filled in by the device: a copy from the host would make the host wait, and a CUDA graph cannot hold one.
    return torch.full((), (seed + (1 << 63)) % (1 << 64) - (1 << 63), dtype=torch.int64, device=device)


def draw_keep(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:
    """The mask [rows, columns] of the seed's device, bool, True where an element is kept."""
    if torch.compiler.is_compiling():
        return registered_keep(seed, rows, columns, threshold)
    if seed.device.type == "cpu":
        return cpu_keep(seed, rows, columns, threshold)
    return philox_keep(seed, rows, columns, threshold)


@torch.library.custom_op("minitl::lora_keep", mutates_args=())
def registered_keep(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:
    """`draw_keep` as one operation: a graph cannot look at the seed's value, which a processor draws by."""
    return draw_keep(seed, rows, columns, threshold)


@registered_keep.register_fake
def _(seed: Tensor, rows: int, columns: int, threshold: int) -> Tensor:  # noqa: ARG001
    return torch.empty((rows, columns), dtype=torch.bool, device=seed.device)


def dropout_mask(seed: int | Tensor, shape: Sequence[int], p: float, device: torch.device | str = "cpu") -> Tensor:
    """The mask that `lora_linear` draws for an x of `shape` [..., in] with this seed: bool, True where x is kept.

    Kept elements are scaled by 1 / (1 - p), with p rounded to a multiple of 2⁻¹⁶. Masks differ between a CPU and a GPU.
    ValueError unless 0 <= p < 1 and `shape` has a last dimension.
    """
    threshold = threshold_of(p)
    if not shape:
        raise ValueError("shape must have at least the dimension of the features")
    if seed is None:
        raise TypeError("seed must be an int or a 0-d int64 tensor: a mask of no seed is no function")
    where = seed.device if isinstance(seed, Tensor) else _with_index(torch.device(device))
    rows, columns = math.prod(shape[:-1]), shape[-1]
    return draw_keep(seed_tensor(seed, where), rows, columns, threshold).view(*shape)


def _with_index(device: torch.device) -> torch.device:
    """cuda -> cuda:0, or whichever is current, as a tensor would say of itself."""
    return torch.empty((), device=device).device
