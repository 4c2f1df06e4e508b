"""Measuring plans on a GPU: each kernel's cuts one by one, then the whole ways with the best of each.

    shrink, expand, single, gradients, grad_x, low_rank, grad_a ─ every cut that the chip can run ─► the fastest
    forward: expand | single | cublas        grad_x: product | cublas                              ─► the fastest

Every time is that of a CUDA graph's replay, so that what is compared is the work and not its launching.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources, PTXASError
from triton.testing import do_bench_cudagraph

from minitl_kernels.lora import cuda
from minitl_kernels.lora.inputs import Inputs, Needs
from minitl_kernels.lora.mask import seed_tensor, threshold_of
from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, Problem, can_be_single, force_plan
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import Chip, aligned, chip_of, dot_precision, vectorised
from minitl_kernels.lora.triton_expand import expand_product
from minitl_kernels.lora.triton_grad_a import grad_a
from minitl_kernels.lora.triton_grad_x import grad_x, grad_x_configs
from minitl_kernels.lora.triton_gradients import grad_s_and_b
from minitl_kernels.lora.triton_low_rank import add_low_rank, low_rank_configs
from minitl_kernels.lora.triton_parts import sums_configs
from minitl_kernels.lora.triton_shrink import shrink, shrink_configs
from minitl_kernels.lora.triton_single import single
from minitl_kernels.lora.triton_tiles import ProductConfig, product_configs
from minitl_kernels.lora.tuned import read_table, table_path, write_table

MILLISECONDS = 10  # of replays behind each time
_ALL = Needs(x=True, lora_a=True, lora_b=True, bias=False)


def tune(
    rows: int,
    columns: int,
    out: int,
    r: int,
    dtype: torch.dtype = torch.bfloat16,
    dropout: bool = False,
    device: torch.device | str = "cuda",
) -> tuple[Problem, Plan]:
    """Measure how `lora_linear` is best computed for x [rows, columns], W [out, columns] and rank `r` on this GPU.

    The plan is written to the GPU's table (see tuned.py) and taken from now on, here and in later processes, for every
    number of rows that rounds up to the same power of two. float32 A and B, as adapters have them.
    RuntimeError without a GPU.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("tune measures on a GPU, and there is none that CUDA can use")
    device = torch.empty((), device=device).device
    with torch.cuda.device(device):
        problem, plan = measure(rows, columns, out, r, dtype, dropout, device)
    path = table_path(device)
    write_table(path, {**read_table(path), problem: plan})
    return problem, plan


@torch.no_grad()
def measure(
    rows: int, columns: int, out: int, r: int, dtype: torch.dtype, dropout: bool, device: torch.device
) -> tuple[Problem, Plan]:
    """The fastest plan for a problem, which is not written down."""
    case = Case(rows, columns, out, r, dtype, threshold_of(0.1) if dropout else 0, device)
    configs = {kernel: best for kernel in case.launches if (best := _fastest(case, kernel)) is not None}
    return case.problem, Plan(*_fastest_ways(case, configs), configs)


class Case:
    """The tensors of a problem; each kernel's launch with a cut of its work, and the cuts to try."""

    def __init__(
        self, rows: int, columns: int, out: int, r: int, dtype: torch.dtype, threshold: int, device: torch.device
    ) -> None:
        def draw(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.randn(*shape, device=device).to(dtype)

        x, weight, grad_y = draw(rows, columns), draw(out, columns), draw(rows, out)
        lora_a, lora_b = draw(r, columns, dtype=torch.float32), draw(out, r, dtype=torch.float32)
        seed = seed_tensor(0, device)
        self.grad_y, self.inputs = grad_y, Inputs(x, weight, None, lora_a, lora_b, 1.0, threshold, seed)
        self.problem = Problem.of(x, weight, r, threshold)
        s, bits = shrink(x, lora_a, threshold, seed)
        grad_s = torch.randn_like(s)
        base = draw(rows, columns)
        chip, padded = chip_of(device), padded_rank(r)
        y = grad_y  # which lies as y does
        tiles = _products(r, chip, x, weight, y)
        alone = _products(r, chip, x, weight, y, lora_a) if can_be_single(self.problem) else []
        self.launches: dict[str, tuple[Callable[[Any], object], Iterable[Any]]] = {
            "shrink": (
                lambda c: shrink(x, lora_a, threshold, seed, c),
                shrink_configs(rows, columns, dtype, r, vectorised(x, lora_a), chip),
            ),
            "expand": (lambda c: expand_product(x, weight, None, s, lora_b, 1.0, c), tiles),
            "single": (lambda c: single(x, weight, None, lora_a, lora_b, 1.0, c), alone),
            "gradients": (
                lambda c: grad_s_and_b(grad_y, s, lora_b, 1.0, _ALL, None, c),
                sums_configs(dtype, padded, vectorised(grad_y), chip),
            ),
            "grad_x": (
                lambda c: grad_x(grad_y, weight, grad_s, lora_a, bits, threshold, c),
                grad_x_configs(dtype, vectorised(grad_y, weight), aligned(grad_y) and aligned(weight), chip),
            ),
            "low_rank": (
                lambda c: add_low_rank(base, grad_s, lora_a, bits, threshold, c),
                low_rank_configs(dtype, vectorised(base)),
            ),
            "grad_a": (
                lambda c: grad_a(grad_s, x, lora_a, bits, threshold, c),
                sums_configs(dtype, padded, vectorised(x), chip),
            ),
        }  # fmt: skip

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """The whole forward pass."""
        return cuda.forward(self.inputs)

    def backward(self, s: Tensor, bits: Tensor) -> object:
        """The whole backward pass."""
        return cuda.backward(self.grad_y, self.inputs, s, bits, _ALL)


def _products(r: int, chip: Chip, x: Tensor, weight: Tensor, y: Tensor, *lora_a: Tensor) -> list[ProductConfig]:
    """The cuts of a product for these operands; with lora_a, those of the single kernel."""
    wide, described = vectorised(x, weight, y, *lora_a), all(aligned(t) for t in (x, weight, y, *lora_a))
    precision, single = dot_precision(x.dtype), bool(lora_a)
    return list(product_configs(x.dtype, precision, r, chip, wide, described, single))


def _milliseconds(function: Callable[[], object]) -> float:
    return float(do_bench_cudagraph(function, rep=MILLISECONDS, return_mode="median"))


def _fastest(case: Case, kernel: str) -> Any:
    """The best cut of a kernel's work; None where none can run. A chip may refuse one, or a compiler fail at it."""
    launch, candidates = case.launches[kernel]
    times: dict[Any, float] = {}
    for config in candidates:
        try:
            times[config] = _milliseconds(lambda config=config: launch(config))  # type: ignore[misc]
        except (OutOfResources, PTXASError, CompilationError, RuntimeError) as error:
            warnings.warn(f"{kernel}, {config}: passed over, {type(error).__name__}: {error}", stacklevel=2)
    return min(times, key=times.__getitem__) if times else None


def _fastest_ways(case: Case, configs: dict[str, Any]) -> tuple[Any, Any]:
    """The best way forward, and the best to the input's gradient."""
    ways = [way for way in FORWARDS if way in configs or way == "cublas"]
    forwards: dict[str, float] = {}
    for way in ways:
        with force_plan(Plan(way, "cublas", configs)):
            forwards[way] = _milliseconds(case.forward)
    _, s, bits = case.forward()
    grad_xs: dict[str, float] = {}
    for grad_way in GRAD_XS:
        with force_plan(Plan("cublas", grad_way, configs)):
            grad_xs[grad_way] = _milliseconds(lambda: case.backward(s, bits))
    return min(forwards, key=forwards.__getitem__), min(grad_xs, key=grad_xs.__getitem__)
