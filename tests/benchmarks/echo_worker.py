"""A worker for the tests: it prints noise, and returns its argument plus the number of runs as the memory used."""

import itertools
import sys

from benchmarks.workers import Run, serve


def set_up() -> Run:
    print("noise while it sets up")
    count = itertools.count(int(sys.argv[1]) + 1)
    return lambda: print("noise while it runs") or {"memory": next(count)}


if __name__ == "__main__":
    serve(set_up)
