"""What the launches of the Triton kernels share: precision, the chip's limits, scratch memory, and the order of tiles."""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

HOPPER_SHARED = 232_448  # bytes of shared memory a block may have on sm_90 and sm_100
SCRATCH_ALIGNMENT = 16


@functools.cache
def shared_limit(device: torch.device) -> int:
    """Bytes of shared memory that one block may use on `device`; off the GPU those of sm_90."""
    if device.type != "cuda":
        return HOPPER_SHARED
    return int(torch.cuda.get_device_properties(device).shared_memory_per_block_optin)


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """How many blocks run at a time, one on each multiprocessor; off the GPU a few, so that tests see the loop."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 3


@functools.cache
def has_descriptors(device: torch.device) -> bool:
    """Whether the chip copies whole tiles by a descriptor (TMA): from sm_90 on; the interpreter plays that too."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


def dot_precision(dtype: torch.dtype) -> str:
    """How float32 operands are multiplied: exactly, or in TF32 where PyTorch is allowed that too."""
    return "tf32" if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest" else "ieee"


def _scratch(size: int, _alignment: int, _stream: int | None) -> Tensor:
    return torch.empty(size, dtype=torch.int8, device="cuda")


def provide_scratch() -> None:
    """Let kernels that make descriptors have memory for them; to be called in the thread and context of the launch."""
    triton.set_allocator(_scratch)


def aligned(tensor: Tensor) -> bool:
    """Whether a descriptor can describe a matrix: rows of neighbours, each row and the first at a multiple of 16 bytes."""
    row = tensor.stride(0) * tensor.element_size()
    return tensor.stride(1) == 1 and row % SCRATCH_ALIGNMENT == 0 and tensor.data_ptr() % SCRATCH_ALIGNMENT == 0


