"""The backward kernels against float64, over shapes and ranks that no tile divides."""

from itertools import product
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from minitl_kernels.lora.cuda import backward
from minitl_kernels.lora.inputs import Gradients, Needs
from minitl_kernels.lora.inputs import Inputs as Call
from minitl_kernels.lora.philox import pack_bits, philox_keep
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import CHIPS, HOPPER, aligned, chip_of
from minitl_kernels.lora.triton_grad_a import grad_a
from minitl_kernels.lora.triton_grad_x import GradXConfig, default_grad_x_config, grad_x
from minitl_kernels.lora.triton_gradients import SEPARATE_FROM, grad_s_and_b
from minitl_kernels.lora.triton_low_rank import LowRankConfig, add_low_rank
from minitl_kernels.lora.triton_parts import Sum, SumsConfig, add_parts, cut
from torch import Tensor

from tests.kernels.lora.conftest import Place
from tests.kernels.lora.reference import Exact, assert_rounded, exact, exact_product, exact_sum

THRESHOLD = 16384  # a quarter is dropped
EVERYTHING = Needs(True, True, True, True)

RANGES = SumsConfig(held=32, step=16, waves=8, warps=4, stages=2)
SUMS = {"ranges": RANGES, "one range": SumsConfig(64, 32, 0, 4, 2), "default": None}
BY_ADDRESS = GradXConfig(32, 32, 32, 16, 2, False, 4, 2)
BY_DESCRIPTOR = GradXConfig(32, 32, 32, 16, 2, True, 4, 2)
LOW_RANK = LowRankConfig(32, 32, 16, 4)


class Inputs(NamedTuple):
    """What a backward pass is given, and the mask with its scale as float64 [M, K]."""

    grad_y: Tensor
    x: Tensor
    weight: Tensor
    lora_a: Tensor
    lora_b: Tensor
    s: Tensor  # also taken for dS, where a kernel starts from that
    bits: Tensor
    mask: Tensor
    threshold: int

    @property
    def rank(self) -> int:
        return len(self.lora_a)


def _inputs(
    place: Place, m: int, k: int, n: int, r: int, threshold: int = THRESHOLD, layout: str = "rows", masters: bool = True
) -> Inputs:
    def normal(*shape: int, dtype: torch.dtype = place.dtype) -> Tensor:
        return torch.randn(shape).to(dtype).to(place.device)

    def matrix(rows: int, columns: int) -> Tensor:
        return {
            "rows": lambda: normal(rows, columns),
            "transposed": lambda: normal(columns, rows).t(),
            "sliced": lambda: normal(rows + 2, 2 * columns + 3)[1:-1, 1 : 2 * columns : 2],
            "expanded": lambda: normal(1, 1).expand(rows, columns),
        }[layout]()

    low = torch.float32 if masters else place.dtype
    s = torch.zeros(m, padded_rank(r), dtype=place.dtype, device=place.device)
    s[:, :r] = normal(m, r)
    keep, bits = torch.ones(m, k, dtype=torch.bool), torch.empty(0, dtype=torch.uint8)
    if threshold:
        keep = philox_keep(torch.tensor(3), m, k, threshold)
        bits = pack_bits(keep)
    mask = keep.double().to(place.device) * (65536 / (65536 - threshold))
    lora_a, lora_b = normal(r, k, dtype=low) * k**-0.5, normal(n, r, dtype=low) * n**-0.5
    weight = normal(n, k) * n**-0.5
    return Inputs(matrix(m, n), matrix(m, k), weight, lora_a, lora_b, s, bits.to(place.device), mask, threshold)


def _check_gradients(place: Place, inputs: Inputs, config: SumsConfig | None, scaling: float = 0.7) -> None:
    grad_y, r = inputs.grad_y, inputs.rank
    grad_s, grad_b, grad_bias = place.run(
        grad_s_and_b, inputs.grad_y, inputs.s, inputs.lora_b, scaling, EVERYTHING, place.dtype, config
    )
    assert grad_s.dtype == grad_bias.dtype == place.dtype
    assert grad_b.dtype == inputs.lora_b.dtype
    assert grad_s.shape == inputs.s.shape
    assert not grad_s[:, r:].any()
    expected = exact_product(grad_y, inputs.lora_b.to(place.dtype)).times(scaling)
    assert_rounded(grad_s[:, :r], expected)
    assert_rounded(grad_b, exact_product(grad_y.T, inputs.s[:, :r]).times(scaling))
    assert_rounded(grad_bias, exact_sum(grad_y))


def _low_rank(inputs: Inputs) -> Exact:
    return exact_product(inputs.s[:, : inputs.rank], inputs.lora_a.to(inputs.s.dtype)).times(inputs.mask)


def _check_grad_x(place: Place, inputs: Inputs, config: GradXConfig | None) -> None:
    tensors = inputs.grad_y, inputs.weight, inputs.s, inputs.lora_a, inputs.bits
    out = place.run(grad_x, *tensors, inputs.threshold, config)
    assert out.dtype == place.dtype
    assert out.is_contiguous()
    assert_rounded(out, exact_product(inputs.grad_y, inputs.weight) + _low_rank(inputs))


def _check_grad_a(place: Place, inputs: Inputs, config: SumsConfig | None) -> None:
    out = place.run(grad_a, inputs.s, inputs.x, inputs.lora_a, inputs.bits, inputs.threshold, config)
    assert out.dtype == inputs.lora_a.dtype
    assert_rounded(out, exact_product(inputs.s[:, : inputs.rank].T, inputs.mask * inputs.x))


def _check_low_rank(place: Place, inputs: Inputs, config: LowRankConfig | None) -> None:
    base = torch.randn(inputs.mask.shape).to(place.dtype).to(place.device)
    out = place.run(add_low_rank, base, inputs.s, inputs.lora_a, inputs.bits, inputs.threshold, config)
    assert_rounded(out, exact(base) + _low_rank(inputs))


CORE_SHAPES = [(1, 1, 1), (3, 130, 33), (65, 16, 130), (127, 33, 65)]


@pytest.mark.parametrize("config", SUMS)
@pytest.mark.parametrize("r", [1, 17, 33])
@pytest.mark.parametrize(("m", "k", "n"), CORE_SHAPES)
def test_gradients_of_one_pass_over_grad_y(place: Place, m: int, k: int, n: int, r: int, config: str) -> None:
    _check_gradients(place, _inputs(place, m, k, n, r), SUMS[config])


@pytest.mark.parametrize("scaling", [0.0, -0.25, 64.0])
def test_every_scaling(place: Place, scaling: float) -> None:
    for config in SUMS.values():
        _check_gradients(place, _inputs(place, 40, 8, 24, 3), config, scaling)


@pytest.mark.parametrize("r", [5, SEPARATE_FROM])
def test_what_is_not_needed_is_not_computed_and_changes_nothing(place: Place, r: int) -> None:
    inputs = _inputs(place, 17, 8, 40, r)

    def run(needs: Needs) -> tuple[Tensor | None, ...]:
        tensors = inputs.grad_y, inputs.s, inputs.lora_b
        return place.run(grad_s_and_b, *tensors, 0.7, needs, place.dtype, RANGES)

    whole = run(EVERYTHING)
    for x, a, b, bias in product((False, True), repeat=4):
        for part, full, needed in zip(run(Needs(x, a, b, bias)), whole, (x or a, b, bias), strict=True):
            assert (part is not None) == needed
            assert part is None or torch.allclose(part.float(), full.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("threshold", [0, THRESHOLD])
@pytest.mark.parametrize("r", [1, 17])
@pytest.mark.parametrize(("m", "k", "n"), CORE_SHAPES)
def test_grad_x_grad_a_and_the_low_rank_term(place: Place, m: int, k: int, n: int, r: int, threshold: int) -> None:
    inputs = _inputs(place, m, k, n, r, threshold)
    _check_grad_x(place, inputs, BY_ADDRESS)
    _check_low_rank(place, inputs, LOW_RANK)
    for config in SUMS.values():
        _check_grad_a(place, inputs, config)


@pytest.mark.parametrize("threshold", [0, THRESHOLD])
def test_grad_x_by_descriptor(place: Place, threshold: int) -> None:
    inputs = _inputs(place, 65, 136, 72, 8, threshold)
    assert aligned(inputs.grad_y)
    assert aligned(inputs.weight)
    _check_grad_x(place, inputs, BY_DESCRIPTOR)


def test_grad_x_where_steps_divide_the_reduction(place: Place) -> None:
    _check_grad_x(place, _inputs(place, 33, 40, 64, 4), BY_ADDRESS)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "expanded"])
def test_any_layout(place: Place, layout: str) -> None:
    inputs = _inputs(place, 33, 65, 40, 4, layout=layout)
    _check_gradients(place, inputs, RANGES)
    _check_gradients(place, _inputs(place, 33, 1, 40, SEPARATE_FROM, layout=layout), RANGES)
    _check_grad_a(place, inputs, RANGES)
    weight = inputs.weight.t().contiguous().t()
    _check_grad_x(place, inputs._replace(weight=weight), BY_ADDRESS)
    turned = inputs._replace(lora_a=inputs.lora_a.t().contiguous().t(), lora_b=inputs.lora_b.t().contiguous().t())
    _check_low_rank(place, turned, LOW_RANK)
    _check_gradients(place, turned, RANGES)


def test_adapters_in_the_dtype_of_the_base(place: Place) -> None:
    inputs = _inputs(place, 20, 40, 24, 16, masters=False)
    _check_gradients(place, inputs, RANGES)
    _check_grad_x(place, inputs, BY_ADDRESS)
    _check_grad_a(place, inputs, RANGES)
    _check_low_rank(place, inputs, LOW_RANK)


@pytest.mark.parametrize("r", [33, 200])
def test_large_ranks(place: Place, r: int) -> None:
    inputs = _inputs(place, 20, 40, 33, r)
    _check_gradients(place, inputs, None)
    _check_grad_x(place, inputs, BY_ADDRESS)
    _check_grad_a(place, inputs, None)
    _check_low_rank(place, inputs, LOW_RANK)


def test_what_is_dropped_and_what_lies_beyond_a_row_do_not_matter(place: Place) -> None:
    inputs = _inputs(place, 20, 43, 24, 4)
    spoilt = inputs.x.masked_fill(inputs.mask == 0, torch.nan)
    clean, dirty = inputs.bits.clone(), inputs.bits.clone()
    clean[:, -1] &= 7
    dirty[:, -1] |= 0xF8  # 43 = 5 · 8 + 3
    _check_grad_a(place, inputs._replace(bits=dirty), RANGES)
    runs = [
        (
            place.run(grad_a, inputs.s, x, inputs.lora_a, bits, THRESHOLD, RANGES),
            place.run(grad_x, inputs.grad_y, inputs.weight, inputs.s, inputs.lora_a, bits, THRESHOLD, BY_ADDRESS),
        )
        for x, bits in ((inputs.x, clean), (spoilt, dirty))
    ]
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def _backward(place: Place, given: Inputs, needs: Needs) -> Gradients:
    """The whole backward pass, with s = 0.7."""
    call = Call(given.x, given.weight, None, given.lora_a, given.lora_b, 0.7, given.threshold, None)
    gradients: Gradients = place.run(backward, given.grad_y, call, given.s, given.bits, needs)
    return gradients


def test_the_same_to_the_bit_on_every_run(place: Place) -> None:
    inputs = _inputs(place, 130, 65, 127, 9)
    first, second = (_backward(place, inputs, EVERYTHING) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("threshold", [0, THRESHOLD])
def test_backward_composes_them(place: Place, threshold: int) -> None:
    inputs = _inputs(place, 33, 40, 24, 6, threshold)
    out_x, out_a, out_b, out_bias = _backward(place, inputs, EVERYTHING)
    grad_y = inputs.grad_y
    grad_s = (0.7 * grad_y.double() @ inputs.lora_b.to(place.dtype).double()).to(place.dtype)
    rounded = inputs._replace(s=torch.nn.functional.pad(grad_s, (0, inputs.s.shape[1] - inputs.rank)))
    low_rank = _low_rank(rounded)
    assert_rounded(out_x, exact_product(grad_y, inputs.weight) + low_rank, through=low_rank.size)
    # dS is rounded here as in the kernel, but where float64 and float32 lie on two sides of a tie.
    of_a = exact_product(grad_s.T, inputs.mask * inputs.x)
    assert_rounded(out_a.to(place.dtype), of_a, through=of_a.size)
    assert_rounded(out_b, exact_product(grad_y.T, inputs.s[:, : inputs.rank]).times(0.7))
    assert_rounded(out_bias, exact_sum(grad_y))


@pytest.mark.parametrize("needs", [Needs(False, True, False, False), Needs(True, False, False, False)])
def test_backward_of_one_input(place: Place, needs: Needs) -> None:
    inputs = _inputs(place, 8, 16, 16, 2)
    out = _backward(place, inputs, needs)
    assert [gradient is not None for gradient in out] == list(needs)
    assert _backward(place, inputs, Needs(False, False, False, False)) == (None,) * 4


def _add(*sums: Sum) -> list[Tensor]:
    add_parts(*sums)
    return [sum_.out for sum_ in sums]


@pytest.mark.parametrize("counts", [(2,), (70, 3), (5, 33, 200)])
def test_parts_are_added_whatever_their_number(place: Place, counts: tuple[int, ...]) -> None:
    shapes = ((7, 5), (129, 16), (3,))[: len(counts)]
    parts = [torch.randn(n, *shape, device=place.device) for n, shape in zip(counts, shapes, strict=True)]
    sums = [Sum(part, torch.empty_like(part[0], dtype=place.dtype), scale=1.5 - i) for i, part in enumerate(parts)]
    for i, out in enumerate(place.run(_add, *sums)):
        assert_rounded(out, exact_sum(parts[i]).times(1.5 - i))


@given(
    length=st.integers(1, 10**6),
    step=st.sampled_from([16, 32, 64]),
    blocks=st.integers(1, 500),
    waves=st.integers(1, 4),
    element_size=st.sampled_from([2, 4]),
    rank=st.integers(1, 256),
)
def test_ranges_cover_the_length_and_keep_to_their_limits(
    length: int, step: int, blocks: int, waves: int, element_size: int, rank: int
) -> None:
    device = torch.device("cpu")
    number, steps = cut(length, step, blocks, waves, element_size, rank, device)
    assert (number - 1) * steps * step < length <= number * steps * step
    assert number == 1 or number * blocks <= waves * chip_of(device).multiprocessors
    assert number == 1 or number * rank * 4 <= length * element_size / 2


SIZES = (1, 3, 16, 33, 65, 127, 130)
HARD_SHAPES = [(m, SIZES[(i + 2 * j) % 7], n) for i, m in enumerate(SIZES) for j, n in enumerate(SIZES)]


@pytest.mark.slow
@pytest.mark.parametrize("r", [1, 3, 8, 16, 17, 33, 64, 200])
@pytest.mark.parametrize("m", SIZES)
def test_hard_shapes_and_ranks(place: Place, m: int, r: int) -> None:
    for _, k, n in (shape for shape in HARD_SHAPES if shape[0] == m):
        for threshold in (0, THRESHOLD):
            inputs = _inputs(place, m, k, n, r, threshold)
            _check_gradients(place, inputs, RANGES if threshold else None)
            _check_grad_x(place, inputs, None)
            _check_grad_a(place, inputs, RANGES if threshold else None)
            _check_low_rank(place, inputs, None)


def test_a_few_rows_are_cut_into_the_most_tiles_with_the_most_in_flight() -> None:
    grad_y, weight = (torch.empty(rows, 4096, dtype=torch.bfloat16, device="meta") for rows in (1, 4096))
    with patch.dict(CHIPS, {torch.device("meta"): HOPPER}):
        config = default_grad_x_config(grad_y, weight)
    assert (config.block_m, config.block_k) == (64, 64)
    assert (config.block_n, config.stages, config.tma) == (64, 4, True)
