"""How everything here is measured: the sides take turns, A B A B …, so that a machine that drifts drifts for all.

A *side* is a function that runs its work once and returns a `Sample`. There are three ways to make one:

    timed(function)                            in this process
    Worker("benchmarks.workers.encode", ...)   in a process that sets up once and runs once for every line it is sent
    any function of your own                   for instance a fresh process per run, see benchmarks/import_time.py

A worker is a module that calls `benchmarks.workers.serve`:

    def set_up():
        encoder = minitl.load_sentence_encoder(sys.argv[1])
        def run():
            encoder.encode(TEXTS)
        return run

    if __name__ == "__main__":
        serve(set_up)

and a benchmark is a page that names its sides and saves what it compared, ours first:

    ours = Worker("benchmarks.workers.encode", "minitl", folder)
    peer = Worker("benchmarks.workers.encode", "sentence-transformers", folder, python=peers_python())
    with ours, peer:
        rows = [compare("512 short texts", {"minitl": ours, "sentence-transformers": peer}, amount=512, unit="texts")]
    save("encode", "Sentence vectors", rows)     # → benchmarks/results/encode.json, read by benchmarks/table.py
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from minitl.checkpoints.atomic import write_json
from minitl.pages.machine import cpu_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FEWEST_RUNS = 7
PACKAGES = ("torch", "triton", "tokenizers", "safetensors", "numpy", "transformers", "peft", "sentence-transformers")


@dataclass(frozen=True)
class Sample:
    """One run: how long it took, and the peak memory in bytes where it was measured."""

    seconds: float
    memory: int | None = None


Side = Callable[[], Sample]


def compare(
    case: str,
    sides: Mapping[str, Side],
    *,
    warm_up: int = 2,
    runs: int = 9,
    amount: float | None = None,
    unit: str = "",
) -> dict[str, Any]:
    """Run every side once per round, in turn, and return the row of the result file.

    sides    name → side; the first is ours, and each other one is compared with it, round by round
    warm_up  rounds that are run first and not kept
    runs     rounds that are kept; ValueError below 7
    amount   how much work one run does, in `unit` ("tokens", "texts"), where the table is to show a rate

    A ratio is the other side's seconds divided by ours in the same round: above 1, ours is the faster.
    """
    rounds = take_turns(case, sides, warm_up=warm_up, runs=runs)
    return compared(case, rounds, list(sides), warm_up=warm_up, amount=amount, unit=unit)


def take_turns(case: str, sides: Mapping[str, Side], *, warm_up: int, runs: int) -> list[dict[str, Sample]]:
    """The rounds that are kept, each with a sample of every side; for rows of which each compares some of the sides."""
    if runs < FEWEST_RUNS:
        raise ValueError(f"{case}: a comparison takes at least {FEWEST_RUNS} runs, got {runs}")
    if len(sides) < 2:
        raise ValueError(f"{case}: a comparison takes at least two sides, got {list(sides)}")
    return [{name: side() for name, side in sides.items()} for _ in range(warm_up + runs)][warm_up:]


def compared(
    case: str,
    rounds: Sequence[Mapping[str, Sample]],
    sides: Sequence[str],
    *,
    warm_up: int,
    amount: float | None = None,
    unit: str = "",
) -> dict[str, Any]:
    """The row that compares some `sides` of what `take_turns` gave, the first of them with each other one."""
    ours, *others = sides
    return {
        "case": case,
        "amount": amount,
        "unit": unit,
        "warm_up": warm_up,
        "sides": {name: _side([samples[name] for samples in rounds]) for name in sides},
        "ratios": {
            other: _spread([samples[other].seconds / samples[ours].seconds for samples in rounds]) for other in others
        },
    }


def _side(samples: Sequence[Sample]) -> dict[str, Any]:
    memory = [sample.memory for sample in samples if sample.memory is not None]
    return {
        "seconds": _spread([sample.seconds for sample in samples]),
        "peak_memory_bytes": int(statistics.median(memory)) if memory else None,
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """`spread`, and the values themselves, in the order in which they were measured."""
    return {**spread(values), "runs": list(values)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median and the interquartile range."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "iqr": high - low}


def timed(function: Callable[[], object]) -> Side:
    """A side that calls `function` in this process."""

    def run() -> Sample:
        start = time.perf_counter()
        function()
        return Sample(time.perf_counter() - start)

    return run


class Worker:
    """A side in another process: `python -m module arguments…`, which calls `benchmarks.workers.serve`.

    Both environments get the same number of threads. Used as a context manager; RuntimeError when the worker ends
    before it has answered (its own message is on standard error).
    """

    def __init__(self, module: str, *arguments: str, python: str = sys.executable):
        self.command = [python, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self) -> Sample:
        assert self._process.stdin is not None
        try:
            print("run", file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise RuntimeError(f"the worker has ended: {' '.join(self.command)}") from error
        return Sample(**self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with status {self._process.wait()}: {' '.join(self.command)}")
        return json.loads(line)


def answered(module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """What `python -m module arguments…` prints, one JSON object, in a process of its own."""
    command = [python, "-m", module, *arguments]
    answer: dict[str, Any] = json.loads(subprocess.check_output(command, cwd=ROOT, env=environment()))
    return answer


def peers_python() -> str:
    """The interpreter of the comparison environment: MINITL_PEERS_PYTHON, else .venv-peers/bin/python.

    Exits with a message where neither exists.
    """
    python = _peers_path()
    if not Path(python).is_file():
        raise SystemExit(f"{python}: no such interpreter; `make .venv-peers/.installed`, or set MINITL_PEERS_PYTHON")
    return python


def _peers_path() -> str:
    return os.environ.get("MINITL_PEERS_PYTHON", str(ROOT / ".venv-peers" / "bin" / "python"))


def threads() -> int:
    """How many threads every side may use: OMP_NUM_THREADS, else all processors that this process may run on."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS", available))


def environment() -> dict[str, str]:
    """The environment variables of a worker: this process's, with the number of threads made explicit."""
    return os.environ | {"OMP_NUM_THREADS": str(threads()), "MKL_NUM_THREADS": str(threads())}


def save(name: str, title: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Write benchmarks/results/NAME.json: the rows of `compare`, and what it takes to judge them or run them again."""
    peers = _peers_path()
    path = RESULTS / f"{name}.json"
    write_json(
        path,
        {
            "name": name,
            "title": title,
            "command": " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": {"minitl": versions(sys.executable), "peers": versions(peers) if Path(peers).is_file() else {}},
            "rows": list(rows),
        },
    )
    return path


def say(words: str) -> None:
    """What is done next, on standard error."""
    print(words, file=sys.stderr, flush=True)


def circumstances(python: str = sys.executable) -> dict[str, Any]:
    """When and where something was measured, and with which versions, those beside the interpreter `python`."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": now, "machine": machine(), "versions": versions(python)}


def machine() -> dict[str, Any]:
    """Processor, cores, memory in bytes, threads used, system, and the load average of the last five minutes."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "threads": threads(),
        "load_average": os.getloadavg()[1],
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(python: str) -> dict[str, str]:
    """The version of Python and of each of `PACKAGES` that is installed beside an interpreter."""
    script = f"""
import json, platform
from importlib.metadata import PackageNotFoundError, version
found = {{"python": platform.python_version()}}
for name in {PACKAGES!r}:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""
    found: dict[str, str] = json.loads(subprocess.check_output([python, "-c", script], text=True))
    return found
