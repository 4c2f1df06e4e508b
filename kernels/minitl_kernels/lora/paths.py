"""The ways of computing `lora_linear`, and which one is taken where.

    plain   plain PyTorch, on any device
    cpu     for the processor
    cuda    Triton and cuBLAS, see cuda.py

A path is a module of three functions: forward, backward, saved_shapes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from minitl_kernels.lora.inputs import Gradients, Inputs, Needs, Shape

NAMES = ("plain", "cpu", "cuda")
LARGEST_RANK = 256  # of the Triton kernels; beyond it the update is no longer small, and cuBLAS is as good
_forced: str | None = None
HAS_TRITON = find_spec("triton") is not None


class Path(Protocol):
    """What the operator asks of a path; x and grad_y are 2-D, see plain.py for the formulas."""

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """y, S, and the mask's bits."""
        ...

    def backward(self, grad_y: Tensor, inputs: Inputs, s: Tensor, bits: Tensor, needs: Needs) -> Gradients:
        """The needed gradients of x, A, B, b."""
        ...

    def saved_shapes(self, rows: int, columns: int, r: int, threshold: int) -> tuple[Shape, Shape]:
        """The shapes of S and of the bits."""
        ...


@contextmanager
def force_path(name: str | None) -> Iterator[None]:
    """Take the path `name`, one of plain, cpu and cuda, for every `lora_linear` called within; None chooses again.

    It holds for the whole process. A backward pass takes the path of its forward pass. ValueError for another name.
    """
    if name is not None and name not in NAMES:
        raise ValueError(f"path must be one of {', '.join(NAMES)}, got {name!r}")
    global _forced
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def path_name(device: torch.device, dtype: torch.dtype, r: int) -> str:
    """Which path a call takes."""
    if _forced is not None:
        return _forced
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return "plain"
    if device.type == "cpu":
        return "cpu"
    if device.type == "cuda" and r <= LARGEST_RANK and HAS_TRITON and triton_serves(device):
        return "cuda"
    return "plain"


def triton_serves(device: torch.device) -> bool:
    """Whether the kernels are for this CUDA device: one of NVIDIA's, of compute capability 8.0 or later."""
    return _served(device)


# A graph's device does not change, so its answer is a constant. This is what torch.compiler.assume_constant_result
# sets, whose import takes the whole compiler along: seconds.
triton_serves._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache
def _served(device: torch.device) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def path_called(name: str) -> Path:
    """The module of a path; Triton is imported when it is first needed."""
    if name == "cpu":
        from minitl_kernels.lora import cpu

        return cpu
    if name == "cuda":
        from minitl_kernels.lora import cuda

        return cuda
    from minitl_kernels.lora import plain

    return plain
