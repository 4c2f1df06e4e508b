"""The other end of `benchmarks.protocol.Worker`: a process that sets up once, then runs once for every line it reads.

This file imports the standard library alone, so that it also works in the peers' environment.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Run = Callable[[], Mapping[str, float] | None]


def serve(set_up: Callable[[], Run]) -> None:
    """Call `set_up()` once, then the function it returns once for every line on standard input.

    Each run answers with one JSON line {"seconds": float, "memory": int}: the time it took, and in bytes the peak
    resident set of this process so far, each unless the run returned its own figure of that name. Whatever else is
    printed goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run = set_up()
    print(json.dumps("ready"), file=answers)
    for _ in sys.stdin:
        gc.collect()  # what earlier runs left must not be collected under this one's clock
        start = time.perf_counter()
        own = run()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "memory": peak_memory(), **(own or {})}), file=answers)


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    # On Linux a child starts with its parent's ru_maxrss; VmHWM begins anew with each program.
    if sys.platform == "linux":
        return memory_field("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_field(name: str) -> int:
    """A field of this process's /proc/self/status in bytes: VmHWM, RssAnon (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not tell a process's {name}")
