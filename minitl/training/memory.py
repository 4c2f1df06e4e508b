"""How much memory a piece of work took at its peak."""

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch


class PeakMemory:
    """The peak since this was made: on a GPU what tensors took there, else the process's resident set.

    On Linux the kernel's high-water mark is reset first, so that earlier work in the same process does not count; where
    that is not possible, the peak is that of the whole process so far.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_earlier_work()

    @property
    def bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else _high_water_mark()


def memory_in_use() -> int:
    """Bytes, now: of tensors on a GPU where there are any, else the process's resident set; off Linux its peak."""
    if torch.cuda.is_initialized() and (allocated := torch.cuda.memory_allocated()):
        return allocated
    return _from_status("VmRSS") or _high_water_mark()


def _forget_earlier_work() -> None:
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library, or a kernel that forbids it
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")


def _high_water_mark() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return _from_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _from_status(name: str) -> int | None:
    """Bytes, by what Linux tells of the process; None elsewhere."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
