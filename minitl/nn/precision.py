"""In which precision a device multiplies fastest."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_INFO = Path("/proc/cpuinfo")
HALF = {"avx512_bf16", "amx_bf16", "bf16"}  # AVX-512 BF16, AMX, Armv8.6


def fastest_precision(device: "torch.device | str" = "cpu") -> str:
    """Either "bfloat16", where the processor or GPU has instructions for it, or "float32".

    Elsewhere bfloat16 is emulated, and slower than float32. Of processors only Linux tells what they have; the name is
    one of `Settings.autocast`.
    """
    import torch

    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.device(device).type == "cpu" and bool(cpu_flags() & HALF)
    return "bfloat16" if fast else "float32"


def cpu_emulates_bfloat16() -> bool:
    """Whether the processor is known to have no instructions for it."""
    flags = cpu_flags()
    return bool(flags) and not flags & HALF


def cpu_flags() -> set[str]:
    """The processor's abilities by Linux's names for them; empty where nothing tells."""
    return set(f"{cpu_info('flags')} {cpu_info('Features')}".split())


def cpu_info(field: str) -> str:
    """A field of the first processor in Linux's list; empty where there is none."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
