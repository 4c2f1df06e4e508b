"""How long a step takes, eager and in CUDA graphs; the arms take turns, in another order each round.

A *step* works on one of several buffers, given by its number. A *run* takes one sample and returns how to read it: on a
GPU the samples are read when all of them have been taken, so that nothing waits in between.
"""

import contextlib
import gc
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from benchmarks.lora.peers import Layer
from benchmarks.lora.problem import Problem

T = TypeVar("T")
Step = Callable[[int], object]
Run = Callable[[], Callable[[], float]]

SAMPLES, WARM_UP = {"cuda": 200, "cpu": 9}, {"cuda": 10, "cpu": 2}
SAMPLE_SECONDS = {"cuda": 3e-4, "cpu": 1e-2}  # shorter steps are taken several to a sample
MOST_REPEATS = 32


def steps_of(layer: Layer, problem: Problem) -> dict[str, Step]:
    """The forward pass as it is in training, and with the backward pass: dX, dA, dB for a given dY."""

    def forward(i: int) -> object:
        return layer.call(problem.xs[i])

    def both(i: int) -> object:
        x = problem.xs[i]
        return torch.autograd.grad(layer.call(x), (x, *layer.learnable), problem.directions[i])

    return {"forward": forward, "forward and backward": both}


def repeats_for(step: Step, device: torch.device, buffers: int) -> int:
    """How many steps make a sample, by how long this one takes."""
    for i in range(3):
        step(i % buffers)
    synchronize(device)
    start = time.perf_counter()
    for i in range(5):
        step(i % buffers)
    synchronize(device)
    seconds = (time.perf_counter() - start) / 5
    return min(MOST_REPEATS, max(1, math.ceil(SAMPLE_SECONDS[device.type] / seconds)))


def eager(step: Step, device: torch.device, order: Sequence[int], repeats: int) -> Run:
    """Wall time of a step, launches and all, the buffers in turn."""
    turn = itertools.cycle(order)

    def run() -> Callable[[], float]:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            step(next(turn))
        synchronize(device)
        seconds = (time.perf_counter() - start) / repeats
        return lambda: seconds

    return run


def graphed(step: Step, order: Sequence[int], repeats: int, pool: Any, hot: bool = False) -> Run:
    """Time on the GPU of a step in a CUDA graph of `repeats` of them.

    order  the buffers in turn
    pool   of memory; these graphs may share one, as they run one after another and nobody reads what they wrote
    hot    one buffer alone, which an untimed replay has just brought to the caches
    """
    count = 1 if hot else math.ceil(len(order) / repeats)
    turn = itertools.cycle(order[:1] if hot else order)
    captured = []
    for _ in range(count):
        buffers = [next(turn) for _ in range(repeats)]
        captured.append(capture(partial(_in_turn, step, buffers), pool)[0])
    graphs = itertools.cycle(captured)

    def run() -> Callable[[], float]:
        graph = next(graphs)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if hot:
            graph.replay()
        start.record()
        graph.replay()
        end.record()
        return lambda: start.elapsed_time(end) * 1e-3 / repeats

    return run


def _in_turn(step: Step, buffers: Sequence[int]) -> None:
    for i in buffers:
        step(i)


def capture(work: Callable[[], T], pool: Any = None) -> tuple[torch.cuda.CUDAGraph, T]:
    """A graph of `work`, which has run before on the current stream (see `working_stream`), and what it returned.

    What torch.cuda.graph does, but for collecting garbage and emptying the allocator's cache each time.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    graph.capture_begin() if pool is None else graph.capture_begin(pool=pool)
    try:
        result = work()
    finally:
        graph.capture_end()
    return graph, result


@contextlib.contextmanager
def working_stream(device: torch.device) -> Iterator[None]:
    """A GPU's work within goes to a stream of its own: graphs cannot be captured on the default one.

    Tensors are made, layers warmed up, graphs captured and timed on one stream, so that nothing waits for another.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def take_turns(runs: Mapping[str, Run], device: torch.device, samples: int) -> dict[str, list[float]]:
    """`samples` of every run after some that are not kept, in seconds."""
    dice, names = random.Random(0), list(runs)
    readings: dict[str, list[Callable[[], float]]] = {name: [] for name in names}
    warm_up = min(WARM_UP[device.type], samples)
    with _no_collection():
        for turn in range(-warm_up, samples):
            dice.shuffle(names)  # an arm is not to find the same predecessor's leavings in the caches each time
            for name in names:
                reading = runs[name]()
                if turn >= 0:
                    readings[name].append(reading)
        synchronize(device)
    return {name: [reading() for reading in taken] for name, taken in readings.items()}


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage is collected before, not under the clock."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
