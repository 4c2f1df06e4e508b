"""Compiles every Triton kernel of the LoRA operator for chips that need not be at hand, and says what they use.

    python -m benchmarks.lora_compiled [--core]

The launch functions run as they would on a GPU, with tensors that have shapes and no memory; where they would start a
kernel it is compiled for the chip in question and its binary read: registers, bytes spilled to memory, shared memory.
A kernel that spills, or asks for more shared or tensor memory than the chip has, fails. The command prints the table of
all launches and ends with 1 if one fails.

`LAUNCHES` lists what is launched; a new kernel adds its function there.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import triton
from minitl_kernels.lora.adapters import Adapters
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import AMPERE, BLACKWELL, HOPPER, Chip, aligned, dot_precision, vectorised
from minitl_kernels.lora.triton_common import CHIPS as CHIPS_READ
from minitl_kernels.lora.triton_epilogue import WIDEST
from minitl_kernels.lora.triton_expand import expand_product
from minitl_kernels.lora.triton_grad_a import grad_a
from minitl_kernels.lora.triton_grad_x import default_grad_x_config, grad_x, grad_x_configs
from minitl_kernels.lora.triton_gradients import grad_s_and_b
from minitl_kernels.lora.triton_low_rank import add_low_rank, default_low_rank_config, low_rank_configs
from minitl_kernels.lora.triton_multi_gradients import grad_a as multi_grad_a
from minitl_kernels.lora.triton_multi_gradients import grad_s_and_b as multi_grad_s_and_b
from minitl_kernels.lora.triton_multi_low_rank import expand as multi_expand
from minitl_kernels.lora.triton_multi_low_rank import shrink as multi_shrink
from minitl_kernels.lora.triton_multi_product import pays
from minitl_kernels.lora.triton_multi_product import product as multi_product
from minitl_kernels.lora.triton_multi_routing import Routes, numbers, route, unit_count, unit_of
from minitl_kernels.lora.triton_parts import SumsConfig, default_sums_config, sums_configs
from minitl_kernels.lora.triton_shrink import default_shrink_config, shrink, shrink_configs
from minitl_kernels.lora.triton_single import single
from minitl_kernels.lora.triton_tiles import ProductConfig, default_product_config, product_configs
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

CHIPS = (AMPERE, HOPPER, BLACKWELL)
# RTX 4090 and 5090: less than half the shared memory. The kernels must run there, and may spill a few bytes.
DESKTOP = (Chip(89, 101_376, 128), Chip(120, 101_376, 170))
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
TENSOR_MEMORY = 512  # columns
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Case:
    """What the kernels are compiled for. All candidate configurations, or the choice of the default rules alone."""

    chip: Chip
    dtype: torch.dtype
    rank: int
    shape: tuple[int, int, int]  # rows, in, out
    candidates: bool

    def __str__(self) -> str:
        return f"sm_{self.chip.capability} {str(self.dtype).removeprefix('torch.')} r={self.rank} {self.shape}"


class Row(NamedTuple):
    """What one compiled kernel uses."""

    case: str
    kernel: str
    config: str
    registers: int
    spilled: int  # bytes of one thread
    shared: int  # bytes of one program
    limit: int
    tensor_memory: int  # columns
    tolerated: int = 0  # bytes that may be spilled

    @property
    def fits(self) -> bool:
        spills = self.spilled > self.tolerated
        return not spills and self.shared <= self.limit and self.tensor_memory <= TENSOR_MEMORY


Launch = tuple[str, Callable[[], object]]  # a configuration's name, and the call that launches it


def _empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def shrinks(case: Case) -> Iterator[Launch]:
    """The shrink kernel, with and without dropout, and the sum of its parts."""
    (m, k, _), seed = case.shape, _empty(dtype=torch.int64)
    x, lora_a = _empty(m, k, dtype=case.dtype), _empty(case.rank, k, dtype=torch.float32)
    candidates = shrink_configs(m, k, case.dtype, case.rank, vectorised(x, lora_a), case.chip)
    for config in candidates if case.candidates else [default_shrink_config(x, lora_a)]:
        for threshold in (0, 6554):
            yield f"{config} threshold={threshold}", partial(shrink, x, lora_a, threshold, seed, config)


def _product_configs(case: Case, x: Tensor, weight: Tensor, y: Tensor, *lora_a: Tensor) -> Iterator[ProductConfig]:
    matrices = (x, weight, y, *lora_a)
    wide, described = vectorised(*matrices), all(aligned(matrix) for matrix in matrices)
    return product_configs(
        case.dtype, dot_precision(case.dtype), case.rank, case.chip, wide, described, single=bool(lora_a)
    )


def products(case: Case) -> Iterator[Launch]:
    """The product with the expand in its epilogue."""
    x, weight, bias, lora_b = _operands(case)
    s, y = _empty(len(x), padded_rank(case.rank), dtype=case.dtype), _empty(len(x), len(weight), dtype=case.dtype)
    candidates = _product_configs(case, x, weight, y)
    for config in candidates if case.candidates else [default_product_config(x, weight, y, case.rank)]:
        yield str(config), partial(expand_product, x, weight, bias, s, lora_b, 2.0, config)


def singles(case: Case) -> Iterator[Launch]:
    """The single kernel, for the ranks that it takes."""
    if padded_rank(case.rank) > WIDEST:
        return
    x, weight, bias, lora_b = _operands(case)
    lora_a, y = _empty(case.rank, x.shape[1], dtype=torch.float32), _empty(len(x), len(weight), dtype=case.dtype)
    candidates = _product_configs(case, x, weight, y, lora_a)
    for config in candidates if case.candidates else [default_product_config(x, weight, y, case.rank, lora_a)]:
        yield str(config), partial(single, x, weight, bias, lora_a, lora_b, 2.0, config)


def gradients(case: Case) -> Iterator[Launch]:
    """dS, dB and the bias's gradient, and the sums of their parts."""
    _, _, grad_y, s, _, _, lora_b = _saved(case)
    for config in _sums(case, grad_y):
        for bias in (True,) if case.candidates else (False, True):  # with it more is in registers
            needs = Needs(True, True, True, bias)
            launch = partial(grad_s_and_b, grad_y, s, lora_b, 2.0, needs, case.dtype, config)
            yield f"{config} bias={bias}", launch


def _sums(case: Case, matrix: Tensor) -> Iterable[SumsConfig]:
    """How sums over the rows of `matrix` may be taken."""
    (length, width), padded, wide = matrix.shape, padded_rank(case.rank), vectorised(matrix)
    if case.candidates:  # the number of waves changes no kernel
        return [config for config in sums_configs(case.dtype, padded, wide, case.chip) if config.waves == 2]
    return [default_sums_config(length, width, case.dtype, padded, wide, case.chip)]


def grads_x(case: Case) -> Iterator[Launch]:
    """The product with W that begins at the masked low-rank term."""
    _, weight, grad_y, s, bits, lora_a, _ = _saved(case)
    wide, described = vectorised(grad_y, weight), aligned(grad_y) and aligned(weight)
    candidates = grad_x_configs(case.dtype, wide, described, case.chip)
    for config in candidates if case.candidates else [default_grad_x_config(grad_y, weight)]:
        for threshold in (6554,) if case.candidates else (0, 6554):
            launch = partial(grad_x, grad_y, weight, s, lora_a, bits, threshold, config)
            yield f"{config} threshold={threshold}", launch


def grads_a(case: Case) -> Iterator[Launch]:
    """dA, and the sum of its parts."""
    x, _, _, s, bits, lora_a, _ = _saved(case)
    for config in _sums(case, x):
        for threshold in (6554,) if case.candidates else (0, 6554):
            yield f"{config} threshold={threshold}", partial(grad_a, s, x, lora_a, bits, threshold, config)


def low_ranks(case: Case) -> Iterator[Launch]:
    """The masked low-rank term added in place."""
    x, _, _, s, bits, lora_a, _ = _saved(case)
    candidates = low_rank_configs(case.dtype, vectorised(x))
    for config in candidates if case.candidates else [default_low_rank_config(x)]:
        for threshold in (6554,) if case.candidates else (0, 6554):
            yield f"{config} threshold={threshold}", partial(add_low_rank, x, s, lora_a, bits, threshold, config)


def _saved(case: Case) -> tuple[Tensor, ...]:
    """What the backward kernels read: x, W, dY, S or dS, bits, A, B."""
    (m, k, n), r = case.shape, case.rank
    shapes = ((m, k), (n, k), (m, n), (m, padded_rank(r)))
    lora_a, lora_b = _empty(r, k, dtype=torch.float32), _empty(n, r, dtype=torch.float32)
    bits = _empty(m, -(-k // 8), dtype=torch.uint8)
    return *(_empty(*shape, dtype=case.dtype) for shape in shapes), bits, lora_a, lora_b


def _operands(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    m, k, n = case.shape
    x, weight, bias = (_empty(*shape, dtype=case.dtype) for shape in ((m, k), (n, k), (n,)))
    return x, weight, bias, _empty(n, case.rank, dtype=torch.float32)


def multis(case: Case) -> Iterator[Launch]:
    """All kernels of three adapters in one batch, forward and backward, which have one configuration each."""
    x, weight, bias, lora_b = _operands(case)
    (m, k), (n, r), padded, count = x.shape, lora_b.shape, padded_rank(case.rank), 3
    ids, seed = _empty(m, dtype=torch.int64), _empty(dtype=torch.int64)
    yield "route", partial(route, ids, count, unit_of(m))
    units = unit_count(m, count, unit_of(m))
    routes = Routes(*(_empty(size, dtype=torch.int32) for size in (units * unit_of(m), units, count + 2)))
    table = numbers(Adapters([_empty(r, k, dtype=x.dtype)] * count, [], [1.0] * count, [0] * count), x.device)
    stacked_a, stacked_b = _empty(count * r, k, dtype=torch.float32), _empty(n, count * r, dtype=torch.float32).t()
    s, grad_y = _empty(m, padded, dtype=case.dtype), _empty(m, n, dtype=case.dtype)
    for bits in (None, _empty(m, -(-k // 8), dtype=torch.uint8)):
        name = f"dropout={bits is not None}"
        yield name, partial(multi_shrink, x, stacked_a, table, routes, padded, bits is not None, False, seed)
        yield name, partial(multi_expand, x, s, stacked_a, bits, table, routes, False)
        yield name, partial(multi_grad_a, s, x, bits, table, routes, count * r)
        if pays(grad_y, k):
            yield name, partial(multi_product, grad_y, weight, None, s, stacked_a, bits, table, routes, False)
    yield "forward", partial(multi_expand, grad_y, s, stacked_b, None, table, routes, True)
    if pays(x, n):
        yield "forward", partial(multi_product, x, weight.t(), bias, s, stacked_b, None, table, routes, True)
    for need_b in (True, False):
        yield f"need_b={need_b}", partial(multi_grad_s_and_b, grad_y, s, stacked_b, table, routes, True, need_b)


LAUNCHES: tuple[Callable[[Case], Iterator[Launch]], ...] = (
    shrinks,
    products,
    singles,
    gradients,
    grads_x,
    grads_a,
    low_ranks,
    multis,
)


class _Driver:
    """A driver of a chip that is not there: Triton compiles for what it says."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip

    def get_current_device(self) -> int:
        return self.chip.capability

    def get_current_stream(self, device: int) -> int:
        return device

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.chip.capability, 32)


@contextlib.contextmanager
def compiling(chip: Chip) -> Iterator[list[Any]]:
    """Within it launches compile for `chip` and start nothing; the list holds the kernels that would have run."""
    compiled: list[Any] = []
    run = JITFunction.run

    def compile_only(kernel: Any, *args: Any, **kwargs: Any) -> None:
        compiled.append(run(kernel, *args, **kwargs | {"warmup": True}))

    chips = patch.dict(CHIPS_READ, {torch.device("meta"): chip})
    with patch.object(driver, "_active", _Driver(chip)), patch.object(JITFunction, "run", compile_only), chips:
        yield compiled


def measure(case: Case, launches: Callable[[Case], Iterator[Launch]]) -> list[Row]:
    """Compiles all that `launches` would start in this case, and reads what it uses."""
    rows = []
    with compiling(case.chip) as compiled:
        for config, launch in launches(case):
            launch()
            rows += [_inspect(kernel, case, config) for kernel in compiled]
            compiled.clear()
    return rows


def _inspect(compiled: Any, case: Case, config: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(compiled.asm["cubin"])
        listing = _tool("cuobjdump", "--dump-resource-usage", str(binary))
    registers, stack = (int(re.findall(rf"{name}:(\d+)", listing)[0]) for name in ("REG", "STACK"))
    spilled = _spilled(compiled.asm["ptx"]) if stack else 0  # what is spilled lies on the stack, but not it alone
    memory = getattr(compiled.metadata, "tmem_size", None) or 0
    shared, tolerated = compiled.metadata.shared, 32 if case.chip in DESKTOP else 0
    return Row(str(case), compiled.name, config, registers, spilled, shared, case.chip.shared, memory, tolerated)


def _spilled(ptx: str) -> int:
    """Bytes that the assembler says it stores to memory for want of registers, assembling as Triton does."""
    architecture = re.findall(r"^\.target (\w+)", ptx, re.MULTILINE)[0]
    assembler = "ptxas-blackwell" if int(re.findall(r"\d+", architecture)[0]) >= 100 else "ptxas"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx, encoding="utf-8")
        options = ("-lineinfo", "-v", "--regAllocOptLevel=2", f"--gpu-name={architecture}")
        log = _tool(assembler, *options, str(source), "-o", str(source) + ".o")
    return sum(int(count) for count in re.findall(r"(\d+) bytes spill stores", log))


def _tool(name: str, *arguments: str) -> str:
    run = subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True)
    return run.stdout + run.stderr


TALL, ODD = (16384, 768, 768), (33, 1001, 130)  # the second is divided by nothing, and has no aligned rows
EIGHTS = (16384, 1000, 776)  # rows that descriptors reach, and addresses only where they are taken in eights
TALL_ODD = (16384, 1001, 777)  # rows that nothing reaches but element by element, and so many that tiles are large
CORE = [Case(chip, torch.bfloat16, 16, TALL, candidates=False) for chip in CHIPS]
ALL = [
    Case(chip, dtype, rank, shape, candidates=shape == TALL and dtype != torch.float16)
    for chip in CHIPS
    for dtype in DTYPES
    for rank in (16, 64, 256)
    for shape in (TALL, ODD, *((EIGHTS, TALL_ODD) if dtype == torch.bfloat16 else ()))
] + [
    Case(chip, torch.bfloat16, rank, shape, candidates=False)
    for chip in DESKTOP
    for rank in (16, 64, 256)
    for shape in (TALL, TALL_ODD)
]


def measure_all(cases: list[Case]) -> list[Row]:
    """All launches of all cases, on all cores."""
    tasks = [(case, launches) for case in cases for launches in LAUNCHES]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(measure, *zip(*tasks, strict=True)) for row in rows]


def table(rows: list[Row]) -> str:
    """The rows as text, one a line; what does not fit is marked."""
    lines = [f"{'':40} {'kernel':28} {'registers':>9} {'spilled':>8} {'shared':>8} {'limit':>8} {'tensor':>7}  config"]
    for row in rows:
        numbers = f"{row.registers:9} {row.spilled:8} {row.shared:8} {row.limit:8} {row.tensor_memory:7}"
        lines.append(f"{row.case:40} {row.kernel:28} {numbers}  {row.config}{'' if row.fits else '  DOES NOT FIT'}")
    return "\n".join(lines)


def main() -> int:
    rows = measure_all(CORE if "--core" in sys.argv[1:] else ALL)
    print(table(rows))
    bad = sum(not row.fits for row in rows)
    print(f"{len(rows)} kernels, {bad} of which do not fit")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
