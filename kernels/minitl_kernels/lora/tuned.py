"""Plans measured on a GPU, kept in a file that later processes read.

    $MINITL_KERNELS_CACHE, else ~/.cache/minitl/kernels  /  lora-<gpu>-torch<version>-triton<version>.json

Nothing is measured unasked: a plan that changed from run to run would change the last bits of a training. `tune`
measures, `tuned_plan` looks up. What is no table of such plans is passed over with a warning, for the rule still holds.
"""

import dataclasses
import functools
import json
import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import triton

from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, Problem
from minitl_kernels.lora.triton_grad_x import GradXConfig
from minitl_kernels.lora.triton_low_rank import LowRankConfig
from minitl_kernels.lora.triton_parts import SumsConfig
from minitl_kernels.lora.triton_shrink import ShrinkConfig
from minitl_kernels.lora.triton_tiles import ProductConfig

CONFIG_TYPES = {
    "shrink": ShrinkConfig,
    "expand": ProductConfig,
    "single": ProductConfig,
    "gradients": SumsConfig,
    "grad_x": GradXConfig,
    "low_rank": LowRankConfig,
    "grad_a": SumsConfig,
}


def table_path(device: torch.device) -> Path:
    """The file for a GPU; another version of Triton or of PyTorch, with its cuBLAS, starts a new one."""
    folder = os.environ.get("MINITL_KERNELS_CACHE") or Path.home() / ".cache" / "minitl" / "kernels"
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", torch.cuda.get_device_name(device)).strip("-").lower()
    return Path(folder) / f"lora-{gpu}-torch{torch.__version__}-triton{triton.__version__}.json"


def tuned_plan(problem: Problem, device: torch.device) -> Plan | None:
    """The plan measured for `problem` on this GPU, or None."""
    path = table_path_of(device)
    return (_REPLAYED[path] if path in _REPLAYED else _table(path)).get(problem)


_REPLAYED: dict[Path, Mapping[Problem, Plan]] = {}


def entries_in_use(device: torch.device) -> list[dict[str, Any]]:
    """The plans that this process looks up for a GPU, for JSON: what a training that is resumed must use again."""
    path = table_path_of(device)
    return _entries(_REPLAYED[path] if path in _REPLAYED else _table(path))


def replay(entries: list[dict[str, Any]], device: torch.device) -> None:
    """Look up these plans from now on, whatever the file of the GPU says by now."""
    _REPLAYED[table_path_of(device)] = _plans(entries)


@functools.cache
def table_path_of(device: torch.device) -> Path:
    """`table_path`, once per device: it is asked for in every call."""
    return table_path(device)


@functools.cache
def _table(path: Path) -> Mapping[Problem, Plan]:
    return read_table(path)


def read_table(path: Path) -> dict[Problem, Plan]:
    """The plans in a file; none, with a warning, where it is not one that `write_table` wrote."""
    try:
        return _plans(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path}: not a table of plans, and not used: {error}", stacklevel=2)
        return {}


def write_table(path: Path, table: Mapping[Problem, Plan]) -> None:
    """Write the plans beside `path`, then rename, and use them in this process from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
        json.dump(_entries(table), file, indent=1)
    os.replace(file.name, path)
    _table.cache_clear()
    _REPLAYED.pop(path, None)


def _entries(table: Mapping[Problem, Plan]) -> list[dict[str, Any]]:
    return [
        {
            "problem": list(problem),
            "forward": plan.forward,
            "grad_x": plan.grad_x,
            "configs": {kernel: dataclasses.asdict(config) for kernel, config in plan.configs.items()},
        }
        for problem, plan in table.items()
    ]


def _plans(entries: list[dict[str, Any]]) -> dict[Problem, Plan]:
    return {Problem(*entry["problem"]): _plan(entry) for entry in entries}


def _plan(entry: Mapping[str, Any]) -> Plan:
    if entry["forward"] not in FORWARDS or entry["grad_x"] not in GRAD_XS:
        raise ValueError(f"unknown kernels {entry['forward']!r}, {entry['grad_x']!r}")
    configs = {kernel: CONFIG_TYPES[kernel](**values) for kernel, values in entry["configs"].items()}
    return Plan(entry["forward"], entry["grad_x"], configs)
