"""What a layer keeps for its backward pass, and how much memory it takes at the peak."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.lora.peers import Layer
from benchmarks.lora.problem import Problem
from benchmarks.lora.timing import Step


def saved_bytes(layer: Layer, problem: Problem) -> dict[str, int]:
    """ "x": bytes of x's memory, if it is kept; "extra": those of all else but W, b, A and B, each memory once."""
    x, kept = problem.xs[0], {}
    parameters = (problem.weight, problem.bias, *layer.learnable)
    known = {tensor.untyped_storage().data_ptr() for tensor in parameters if tensor is not None}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer.call(x)  # alive while we count, so that no memory is used twice
    own = x.untyped_storage().data_ptr()
    del y
    return {"x": x.nbytes if own in kept else 0, "extra": sum(size for at, size in kept.items() if at != own)}


def allowed_extra(problem: Problem, rank_columns: int) -> int:
    """What the target allows beside x: S [M, rank_columns], one bit per element of x, and a seed."""
    case = problem.case
    bits = case.tokens * ((case.inn + 7) // 8) if case.p else 0
    return case.tokens * rank_columns * problem.dtype.itemsize + bits + 8


def peak_bytes(both: Step, device: torch.device) -> int | None:
    """By how much the memory grows at most in a step with its backward pass; None where only a GPU would tell."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result: Any = both(0)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return peak
