"""What the numbers were measured on."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads and versions, as results.json records them."""
    import torch

    from minitl import __version__

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "minitl": __version__,
    }


def run_facts(command: Sequence[str]) -> dict[str, Any]:
    """What a report says of the run that made it: how it was called, when, and on what."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": shlex.join(command), "created": now, **describe_machine()}


def fastest_precision() -> str:
    """Either "bfloat16", where the processor has instructions for it (AVX-512 BF16, AMX, Armv8.6), or "float32".

    Elsewhere bfloat16 is emulated, and slower than float32. Only Linux tells; the name is one of `Settings.autocast`.
    """
    return "bfloat16" if cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def cpu_flags() -> set[str]:
    """The processor's abilities by Linux's names for them; empty where nothing tells."""
    return set(f"{_cpu_info('flags')} {_cpu_info('Features')}".split())


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows of it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field: str) -> str:
    """A field of the first processor in Linux's list; empty where there is none."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
