"""What the numbers were measured on."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from minitl.nn.precision import cpu_info


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


def device_name(device: str) -> str:
    """Of a GPU its own name, else the processor's."""
    import torch

    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else cpu_name()


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows of it."""
    return cpu_info("model name") or platform.processor() or platform.machine()
