"""A linear layer with LoRA against its peers, on a GPU or on a processor: `python -m benchmarks.lora_kernels`.

    every case ─► the arms take turns ─► overhead over the frozen layer, times as fast as each peer
               ─► bytes saved, errors against float64, promises about masks ─► which targets hold

On a GPU: graph to graph and eager, in under 8 minutes (`Case`s for which no time is left are named as left out). On a
processor: the layers of MiniLM, and its whole training step. Writes lora_<gpu>.json or lora_cpu.json and a plot of the
same name into benchmarks/results/.

--quick          tiny layers, few samples; into runs/benchmarks/
--core           on a GPU, the layers that its targets are about alone, without compiled peers; into runs/benchmarks/
--output FOLDER  where to write instead
"""

import argparse
import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.lora.cases import Case, core_cases, cpu_cases, gpu_cases, quick_cases
from benchmarks.lora.report import draw, table
from benchmarks.lora.rows import measure
from benchmarks.lora.steps import lora_steps
from benchmarks.lora.targets import summary, targets
from benchmarks.lora.timing import SAMPLES
from benchmarks.protocol import RESULTS, ROOT, machine, peers_python, versions
from minitl.checkpoints.atomic import write_json
from minitl.nn.precision import cpu_flags

SECONDS = 7 * 60  # from the start, after which no further case is begun
QUICK_SAMPLES = 3


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora_kernels")
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--quick", action="store_true", help="tiny layers, few samples; into runs/benchmarks/")
    less.add_argument("--core", action="store_true", help="on a GPU, what its targets are about; into runs/benchmarks/")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write instead")
    options = parser.parse_args(arguments)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    if options.core and device.type == "cpu":
        parser.error("--core is for a GPU, and there is none that CUDA can use")
    output = options.output or (ROOT / "runs" / "benchmarks" if options.quick or options.core else RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"lora_{short_name(device)}.json"
    result, start = new_result(device, options), time.monotonic()
    if device.type == "cpu":
        result["steps"] = [] if options.quick else lora_steps()
    on_device = cpu_cases if device.type == "cpu" else gpu_cases
    cases = quick_cases() if options.quick else core_cases() if options.core else on_device()
    run(cases, device, QUICK_SAMPLES if options.quick else SAMPLES[device.type], start, result, path)
    draw(result, path.with_suffix(".svg"))
    print(table(result), summary(result["targets"]), path, sep="\n\n")
    return int(bool(result["failed"]))


def run(
    cases: Sequence[Case], device: torch.device, samples: int, start: float, result: dict[str, Any], path: Path
) -> None:
    """Measure the cases into `result`, and write it to `path` after each: a broken run leaves what it had."""
    write(result, start, path)
    for case in cases:
        if time.monotonic() - start > SECONDS:
            result["left_out"].append(case.title)
            continue
        began = time.monotonic()
        try:
            result["rows"].append(measure(case, device, samples))
        except Exception as error:
            traceback.print_exception(error)
            result["failed"].append(f"{case.title}: {type(error).__name__}: {error}")
        print(f"{time.monotonic() - start:6.1f} s (+{time.monotonic() - began:.1f})  {case.title}", flush=True)
        write(result, start, path)
    write(result, start, path)


def write(result: dict[str, Any], start: float, path: Path) -> None:
    """The result as far as it has come, its targets judged."""
    result["targets"] = targets(result)
    result["seconds"] = round(time.monotonic() - start, 1)
    write_json(path, result)


def new_result(device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """A result without rows: what it takes to judge them or to run them again, but for where it was written."""
    chosen = [f"--{name}" for name in ("quick", "core") if getattr(options, name)]
    return {
        "name": f"lora_{short_name(device)}",
        "command": " ".join(["python", "-m", "benchmarks.lora_kernels", *chosen]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "amx": "amx_bf16" in cpu_flags(),
        "machine": machine(),
        "versions": versions(sys.executable),
        "rows": [],
        "left_out": [],
        "failed": [],
        "targets": [],
    }


def short_name(device: torch.device) -> str:
    """cpu, h200, a100, rtx-4090: the name of a file of results."""
    if device.type == "cpu":
        return "cpu"
    words = re.sub(r"NVIDIA|GeForce|Tesla|\b(SXM|HBM)\d*\b|PCIe|\b\d+GB\b", " ", torch.cuda.get_device_name(device))
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))


def under_peft() -> None:
    """Start over in the peers' environment where this one has no PEFT and that one is at hand."""
    if importlib.util.find_spec("peft") is None and "MINITL_BENCHMARK_RESTARTED" not in os.environ:
        try:
            python = peers_python()
        except SystemExit as missing:
            print(f"without PEFT: {missing}", file=sys.stderr)
            return
        os.environ["MINITL_BENCHMARK_RESTARTED"] = "1"
        os.execv(python, [python, "-m", "benchmarks.lora_kernels", *sys.argv[1:]])


if __name__ == "__main__":
    under_peft()
    sys.exit(main(sys.argv[1:]))
