"""What the launches of the Triton kernels share: the chip's figures, precision, scratch memory."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor


class Chip(NamedTuple):
    """The figures of a GPU that decide which configurations it can run."""

    capability: int  # 90 for sm_90
    shared: int  # bytes of shared memory that one block may have
    multiprocessors: int

    @property
    def tma(self) -> bool:
        """Whether a copy engine fetches whole tiles by a descriptor."""
        return self.capability >= 90

    @property
    def tensor_memory(self) -> bool:
        """Whether accumulators lie in a memory of their own: 512 columns for each of 128 rows."""
        return 100 <= self.capability < 120


AMPERE = Chip(80, 166_912, 108)
HOPPER = Chip(90, 232_448, 132)
BLACKWELL = Chip(100, 232_448, 148)


CHIPS: dict[torch.device, Chip] = {}  # what `chip_of` has found out


def chip_of(device: torch.device) -> Chip:
    """The chip of a CUDA device; off the GPU a Hopper with few multiprocessors, whose programs have several tiles."""
    if device not in CHIPS:
        CHIPS[device] = _read(device)
    return CHIPS[device]


def _read(device: torch.device) -> Chip:
    if device.type != "cuda":
        return HOPPER._replace(multiprocessors=3)
    major, minor = torch.cuda.get_device_capability(device)
    figures = triton.runtime.driver.active.utils.get_device_properties(device.index)
    return Chip(10 * major + minor, figures["max_shared_mem"], figures["multiprocessor_count"])


def multiprocessors(device: torch.device) -> int:
    """How many blocks can run at a time, one on each multiprocessor."""
    return chip_of(device).multiprocessors


def has_descriptors(device: torch.device) -> bool:
    """Whether the device's copy engine fetches whole tiles by a descriptor; the interpreter plays that too."""
    return chip_of(device).tma


def dot_precision(dtype: torch.dtype) -> str:
    """How float32 operands are multiplied: exactly, or in TF32 where PyTorch is allowed that too.

    `torch.get_float32_matmul_precision` would raise where the precision was set for CUDA alone.
    """
    return "tf32" if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def pieces(length: int, size: int) -> int:
    """How many pieces of `size` cover `length`: what triton.cdiv says, which serves kernels too and is slow for it."""
    return -(-length // size)


def aligned(matrix: Tensor) -> bool:
    """Whether a descriptor can describe a matrix: neighbours in its rows, each row at a multiple of 16 bytes.

    Not one row that is expanded to many, whose stride is zero.
    """
    row, column = matrix.stride()
    row *= matrix.element_size()
    return column == 1 and row > 0 and row % 16 == 0 and matrix.data_ptr() % 16 == 0


def _scratch(size: int, _alignment: int, _stream: int | None) -> Tensor:
    return torch.empty(size, dtype=torch.int8, device="cuda")


def provide_scratch() -> None:
    """Let kernels that make descriptors have memory for them; to be called in the thread that launches them."""
    triton.set_allocator(_scratch)


def vectorised(*matrices: Tensor) -> bool:
    """Whether whole rows can be moved 16 bytes at a time, by a kernel that takes lengths and strides `in_eights`."""
    for matrix in matrices:
        row, column = matrix.stride()
        if column != 1 or row % 8 or matrix.shape[1] % 8 or matrix.data_ptr() % 16:
            return False
    return True


@triton.jit
def in_eights(number, EIGHTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The number; with EIGHTS so that Triton sees that 8 divides it, for by itself it looks for 16 alone."""
    return number // 8 * 8 if EIGHTS else number


MOST_REGISTERS = 200  # by the estimate of `registers`: kernels that it puts higher were seen to spill


def registers(sums: int, tiles: int, warps: int, wide: bool) -> int:
    """About how many registers a thread needs for the float32 sums and the elements of the tiles that a program holds.

    A tile that is not moved in 16-byte pieces needs an address of two registers for each element.
    """
    return (sums + tiles * (1 if wide else 3)) // (32 * warps)
