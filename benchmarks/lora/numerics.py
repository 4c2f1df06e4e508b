"""Whether the numbers are right: errors against float64, and the promises about masks."""

import traceback
from collections.abc import Callable

import torch
from minitl_kernels import dropout_mask
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.lora.arms import ours
from benchmarks.lora.peers import Layer, Skipped, peft
from benchmarks.lora.problem import SCALING, Problem
from benchmarks.lora.timing import capture

NAMES = ("y", "x", "lora_a", "lora_b")
SEED = 20251127


class GivenMask(nn.Module):
    """Dropout with a mask and its scale given as factors; rounded once, as dropout is."""

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() * self.factors).to(x.dtype)


def results_of(layer: Layer, problem: Problem) -> dict[str, Tensor]:
    """y, and the gradients of its product with the first direction."""
    x = problem.xs[0]
    y = layer.call(x)
    wanted = (x, *layer.learnable)
    return dict(zip(NAMES, (y.detach(), *torch.autograd.grad(y, wanted, problem.directions[0])), strict=False))


def mask_factors(problem: Problem, seed: int = SEED) -> Tensor:
    """What dropout multiplies x with for this seed, float32: 0 or 1 / (1 - p), with p as the operator rounds it."""
    x, p = problem.xs[0], problem.case.p
    if not p:
        return torch.ones(x.shape, device=x.device)
    return dropout_mask(seed, x.shape, p, x.device) * (65536 / (65536 - round(p * 65536)))


def exact(problem: Problem, factors: Tensor) -> dict[str, Tensor]:
    """The formulas in float64 for A and B as the products meet them: rounded to the type of W."""
    a, b = (tensor.to(problem.dtype).double() for tensor in (problem.lora_a, problem.lora_b))
    x, direction, factor = (_rows(tensor) for tensor in (problem.xs[0], problem.directions[0], factors))
    weight = problem.weight.double()
    low, grad_s = (x * factor) @ a.T, SCALING * direction @ b
    y = x @ weight.T + SCALING * low @ b.T
    return {
        "y": y if problem.bias is None else y + problem.bias.double(),
        "x": direction @ weight + factor * (grad_s @ a),
        "lora_a": grad_s.T @ (x * factor),
        "lora_b": SCALING * direction.T @ low,
    }


def _rows(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1]).double()


def relative_errors(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """‖found - wanted‖ / ‖wanted‖ of each."""
    return {name: ((_rows(value) - wanted[name]).norm() / wanted[name].norm()).item() for name, value in found.items()}


def errors(problem: Problem) -> dict[str, dict[str, float]]:
    """The relative errors of ours and of PEFT's eager layer, A, B and mask the same, all in the type of W."""
    factors = mask_factors(problem)
    wanted = exact(problem, factors)
    layers: dict[str, Callable[[], Layer]] = {
        "minitl": lambda: ours(problem, problem.dtype, seed=SEED),
        "PEFT": lambda: peft(
            problem, problem.dtype == torch.float32, GivenMask(factors) if problem.case.p else nn.Identity()
        ),
    }
    found = {}
    for name, build in layers.items():
        try:
            found[name] = relative_errors(results_of(build(), problem), wanted)
        except Exception as error:
            if name == "minitl":
                raise
            if not isinstance(error, Skipped):
                traceback.print_exception(error)
    return found


def checks(problem: Problem) -> dict[str, bool]:
    """The promises about masks and repetition, each as whether it is kept."""
    device, case = problem.device, problem.case
    seeded, free = ours(problem, torch.float32, seed=SEED), ours(problem, torch.float32)
    kept = {"two runs with one seed are equal bit for bit": _equal(*(results_of(seeded, problem) for _ in range(2)))}
    if not case.p:
        return kept
    again = Layer(lambda x: checkpoint(free.call, x, use_reentrant=False), free.learnable)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        drawn = []
        for layer in (free, again):
            torch.manual_seed(SEED)
            drawn.append(results_of(layer, problem))
    share, size = dropout_mask(SEED, problem.xs[0].shape, case.p, device).double().mean().item(), problem.xs[0].numel()
    kept |= {
        "a checkpointed layer draws its mask again": _equal(*drawn),
        "the mask keeps 1 - p of all elements": abs(share - (1 - case.p)) < 5 * (case.p * (1 - case.p) / size) ** 0.5,
    }
    if device.type == "cuda":
        kept["a graph draws a new mask at each replay"] = _graph_draws_anew(free, problem)
    return kept


def _graph_draws_anew(layer: Layer, problem: Problem) -> bool:
    with torch.no_grad():
        layer.call(problem.xs[0])
        graph, y = capture(lambda: layer.call(problem.xs[0]))
        seen = []
        for _ in range(2):
            graph.replay()
            seen.append(y.clone())
    return not torch.equal(*seen)


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
