"""The other end of `benchmarks.protocol.Worker`: a process that sets up once, then runs once for every line it reads.

This file imports the standard library alone, so that it also works in the peers' environment.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable

Run = Callable[[], int | None]


def serve(set_up: Callable[[], Run]) -> None:
    """Call `set_up()` once, then the function it returns once for every line on standard input.

    Each run answers with one JSON line {"seconds": float, "memory": int}: `memory` is what the run returned, in bytes,
    or, where it returns None, the peak resident set of this process so far. Whatever else is printed goes to standard
    error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run = set_up()
    print(json.dumps("ready"), file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        memory = run()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "memory": peak_memory() if memory is None else memory}), file=answers)


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
