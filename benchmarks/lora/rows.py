"""One case measured: every arm built, timed in turns, weighed and checked."""

import gc
import statistics
import subprocess
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.lora.arms import LIMIT, OURS, Arm, arms_of, path_taken
from benchmarks.lora.cases import COMPILED, EAGER, HOT, Case
from benchmarks.lora.memory import allowed_extra, peak_bytes, saved_bytes
from benchmarks.lora.numerics import checks, errors, exact, mask_factors, relative_errors, results_of
from benchmarks.lora.peers import Layer, Skipped
from benchmarks.lora.problem import Problem, make_problem
from benchmarks.lora.timing import Run, Step, eager, graphed, repeats_for, steps_of, take_turns, working_stream
from benchmarks.protocol import spread

STEPS = ("forward", "forward and backward")


@dataclass
class Ready:
    """An arm whose layer is built and has run, so that what it compiles or tunes is behind it."""

    arm: Arm
    layer: Layer
    steps: dict[str, Step]
    record: dict[str, Any]


def measure(case: Case, device: torch.device, samples: int) -> dict[str, Any]:
    """The row of a case for the result file. Whatever fails but ours and the limit is recorded as skipped."""
    with working_stream(device):
        row = _measure(make_problem(case, device), samples)
    gc.collect()
    if COMPILED in case.extras:
        torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _measure(problem: Problem, samples: int) -> dict[str, Any]:
    case, device = problem.case, problem.device
    ready, records = _get_ready(problem)
    repeats = repeats_for(ready[LIMIT].steps[STEPS[1]], device, len(problem.xs))
    modes = _modes(case, problem)
    clocks: dict[str, str] = {}
    for mode in modes:
        for name in STEPS:
            runs = _runs(ready, records, name, mode, problem, repeats)
            seconds = take_turns(runs, device, samples)
            clocks = clocks or gpu_clocks(device)  # while the GPU is warm
            for arm, taken in seconds.items():
                records[arm].setdefault(name, {})[mode] = _timing(taken, seconds[LIMIT], seconds[OURS])
    _weigh(ready, problem)
    return {
        "case": asdict(case) | {"extras": sorted(case.extras)},
        "title": case.title,
        "path": path_taken(problem),
        "buffers": len(problem.xs),
        "steps_a_sample": repeats,
        "modes": modes,
        "allowed_extra_bytes": allowed_extra(problem, _padded(case.r)),
        "arms": records,
        "errors": errors(problem),
        "checks": checks(problem),
        "clocks": clocks,
    }


def _get_ready(problem: Problem) -> tuple[dict[str, Ready], dict[str, dict[str, Any]]]:
    """The arms that run, and a record for every one."""
    ready: dict[str, Ready] = {}
    records: dict[str, dict[str, Any]] = {}
    for name, arm in arms_of(problem).items():
        record: dict[str, Any] = {"kind": arm.kind}
        records[name] = record
        start = time.perf_counter()
        try:
            with arm.context():
                layer = arm.build(problem)
                steps = steps_of(layer, problem)
                for step in steps.values():
                    step(0)
        except Exception as error:
            _skip(name, arm, record, error)
            continue
        record["set_up_seconds"] = round(time.perf_counter() - start, 3)
        ready[name] = Ready(arm, layer, steps, record)
    return ready, records


def _skip(name: str, arm: Arm, record: dict[str, Any], error: Exception) -> None:
    if arm.kind == "limit" or name == OURS:
        raise error
    if not isinstance(error, Skipped):
        traceback.print_exception(error)
    kind = "" if isinstance(error, Skipped) else f"{type(error).__name__}: "
    record["skipped"] = (kind + str(error)).splitlines()[0]


def _modes(case: Case, problem: Problem) -> list[str]:
    """How the steps are timed; the first mode is the one that ratios and targets are about."""
    if problem.device.type != "cuda":
        return ["eager"]
    extra = [mode for mode in (HOT, EAGER) if mode in case.extras]
    return (["graph"] if problem.rotates else ["hot"]) + [mode for mode in extra if problem.rotates or mode != HOT]


def _runs(
    ready: dict[str, Ready],
    records: Mapping[str, dict[str, Any]],
    name: str,
    mode: str,
    problem: Problem,
    repeats: int,
) -> dict[str, Run]:
    """A run of the step `name` for every arm; the arms that cannot be captured in a graph drop out."""
    runs = {}
    order = range(len(problem.xs))
    for arm_name, arm in list(ready.items()):
        step = arm.steps[name]
        try:
            with arm.arm.context():
                if mode == "eager":
                    runs[arm_name] = _within(arm.arm, eager(step, problem.device, order, repeats))
                else:
                    # A pool of its own: one whose capture has failed is of no use to the arms that follow.
                    runs[arm_name] = graphed(step, order, repeats, torch.cuda.graph_pool_handle(), hot=mode == HOT)
        except Exception as error:
            _skip(arm_name, arm.arm, records[arm_name], error)
            del ready[arm_name]
    return runs


def _within(arm: Arm, run: Run) -> Run:
    """The run in the arm's context, which is entered outside the clock."""

    def inside() -> Any:
        with arm.context():
            return run()

    return inside


def _timing(taken: list[float], limit: list[float], ours: list[float]) -> dict[str, Any]:
    """Seconds, percent over the frozen linear layer, and how many times ours; both in the same rounds."""
    over = [100 * (mine / least - 1) for mine, least in zip(taken, limit, strict=True)]
    times = [theirs / mine for theirs, mine in zip(taken, ours, strict=True)]
    return {
        "seconds": spread(taken),
        "samples": len(taken),
        "over_limit_percent": statistics.median(over),
        "times_ours": spread(times),
    }


def _weigh(ready: Mapping[str, Ready], problem: Problem) -> None:
    """Memory, and without dropout the errors of every arm: one that computes something else is no peer."""
    wanted = None if problem.case.p else exact(problem, mask_factors(problem))
    for name, arm in ready.items():
        try:
            with arm.arm.context():
                saved = saved_bytes(arm.layer, problem)
                arm.record["saved_x_bytes"], arm.record["saved_extra_bytes"] = saved["x"], saved["extra"]
                arm.record["peak_bytes"] = peak_bytes(arm.steps[STEPS[1]], problem.device)
                if wanted is not None and arm.layer.learnable:
                    arm.record["errors"] = relative_errors(results_of(arm.layer, problem), wanted)
        except Exception as error:
            _skip(name, arm.arm, arm.record, error)


def _padded(r: int) -> int:
    """The columns of S where it is padded for matrix units."""
    return max(16, 1 << (r - 1).bit_length())


def gpu_clocks(device: torch.device) -> dict[str, str]:
    """Clocks, temperature and power as nvidia-smi reads them now; nothing where it is not at hand."""
    if device.type != "cuda":
        return {}
    fields = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw")
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        line = subprocess.check_output(command, text=True, timeout=10, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields, (value.strip() for value in line.split(",")), strict=False))
