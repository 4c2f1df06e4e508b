"""The forward kernels against float64, over shapes and ranks that no tile divides."""

from typing import Any, NamedTuple

import pytest
import torch
from minitl_kernels.lora.philox import philox_keep, unpack_bits
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import aligned
from minitl_kernels.lora.triton_expand import expand_product
from minitl_kernels.lora.triton_shrink import ShrinkConfig, shrink
from minitl_kernels.lora.triton_single import single
from minitl_kernels.lora.triton_tiles import ProductConfig
from torch import Tensor

from tests.kernels.lora.conftest import Place
from tests.kernels.lora.reference import Exact, assert_rounded, exact, exact_product

THRESHOLD = 16384  # a quarter is dropped


class Inputs(NamedTuple):
    """x [M, K] of a layout, W, b, A and B, of a size that keeps outputs near one."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    lora_a: Tensor
    lora_b: Tensor


def _inputs(place: Place, m: int, k: int, n: int, r: int, layout: str = "rows", masters: bool = True) -> Inputs:
    def normal(*shape: int, dtype: torch.dtype = place.dtype) -> Tensor:
        return torch.randn(shape).to(dtype).to(place.device)

    low = torch.float32 if masters else place.dtype
    x = {
        "rows": lambda: normal(m, k),
        "transposed": lambda: normal(k, m).t(),
        "sliced": lambda: normal(m + 2, 2 * k + 3)[1:-1, 1 : 2 * k : 2],
    }[layout]()
    scale = k**-0.5
    return Inputs(x, normal(n, k) * scale, normal(n), normal(r, k, dtype=low) * scale, normal(n, r, dtype=low))


def _check_shrink(place: Place, inputs: Inputs, threshold: int, config: ShrinkConfig | None) -> None:
    (m, k), r = inputs.x.shape, len(inputs.lora_a)
    seed = torch.tensor(-(2**40) - 7, device=place.device) if threshold else None
    s, bits = place.run(shrink, inputs.x, inputs.lora_a, threshold, seed, config)
    x = inputs.x.double()
    if seed is not None:
        keep = philox_keep(seed, m, k, threshold)
        assert torch.equal(unpack_bits(bits, k), keep)
        x = x * keep * (65536 / (65536 - threshold))
    assert s.shape == (m, padded_rank(r))
    assert s.dtype == place.dtype
    assert s.is_contiguous()
    assert bits.dtype == torch.uint8
    assert bits.shape == ((m, -(-k // 8)) if threshold else (0,))
    assert not s[:, r:].any()
    assert_rounded(s[:, :r], exact_product(x, inputs.lora_a.to(place.dtype).T))


def _products(inputs: Inputs, scaling: float, bias: bool) -> tuple[Exact, Exact, Exact]:
    """S unrounded, what rounded it adds to y, and y, in float64."""
    dtype = inputs.x.dtype
    s = exact_product(inputs.x, inputs.lora_a.to(dtype).T)
    low_rank = exact_product(s.value.to(dtype), inputs.lora_b.to(dtype).T).times(scaling)
    y = exact_product(inputs.x, inputs.weight.T) + low_rank
    return s, low_rank, y + exact(inputs.bias) if bias else y


def _check_product(
    place: Place, inputs: Inputs, config: ProductConfig | None, scaling: float = 1.7, bias: bool = True
) -> None:
    s, _, expected = _products(inputs, scaling, bias)
    m, r = s.value.shape
    padded = torch.zeros(m, padded_rank(r), dtype=place.dtype, device=place.device)
    padded[:, :r] = s.value.to(place.dtype)
    b = inputs.bias if bias else None
    y = place.run(expand_product, inputs.x, inputs.weight, b, padded, inputs.lora_b, scaling, config)
    assert y.dtype == place.dtype
    assert_rounded(y, expected)


def _check_single(
    place: Place, inputs: Inputs, config: ProductConfig | None, scaling: float = 1.7, bias: bool = True
) -> None:
    s, low_rank, expected = _products(inputs, scaling, bias)
    m, r = s.value.shape
    b = inputs.bias if bias else None
    y, low = place.run(single, inputs.x, inputs.weight, b, inputs.lora_a, inputs.lora_b, scaling, config)
    assert low.shape == (m, padded_rank(r))
    assert not low[:, r:].any()
    assert_rounded(low[:, :r], s)
    assert_rounded(y, expected, through=low_rank.size)


SMALL = ProductConfig(32, 32, 32, 4, 2, group=2)
SMALL_TMA = ProductConfig(32, 32, 32, 4, 2, group=2, tma=True)
PERSISTENT = ProductConfig(32, 32, 32, 4, 2, group=2, tma=True, persistent=True)
SHRINKS = {"whole": ShrinkConfig(32, 32, 1, 4, 2), "split": ShrinkConfig(16, 32, 4, 4, 2), "default": None}

CORE_SHAPES = [(1, 1, 1), (3, 130, 33), (65, 64, 130), (33, 127, 16)]
HARD_SHAPES = [(m, k, n) for m in (1, 3, 16, 64, 127) for k in (1, 3, 33, 65, 128, 130) for n in (1, 16, 65, 127)]


@pytest.mark.parametrize("threshold", [0, THRESHOLD])
@pytest.mark.parametrize("config", SHRINKS)
@pytest.mark.parametrize(("m", "k", "r"), [(1, 1, 1), (3, 130, 8), (65, 64, 24), (33, 259, 16)])
def test_shrink(place: Place, m: int, k: int, r: int, config: str, threshold: int) -> None:
    _check_shrink(place, _inputs(place, m, k, 1, r), threshold, SHRINKS[config])


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_shrink_of_any_layout(place: Place, layout: str) -> None:
    _check_shrink(place, _inputs(place, 33, 65, 1, 4, layout), THRESHOLD, SHRINKS["split"])


def test_splits_without_work_add_nothing(place: Place) -> None:
    _check_shrink(place, _inputs(place, 3, 40, 1, 4), THRESHOLD, ShrinkConfig(16, 32, 8, 4, 2))


def test_the_same_bits_for_every_cut(place: Place) -> None:
    inputs, seed = _inputs(place, 35, 200, 1, 4), torch.tensor(5, device=place.device)
    runs = [place.run(shrink, inputs.x, inputs.lora_a, THRESHOLD, seed, config)[1] for config in SHRINKS.values()]
    assert all(torch.equal(unpack_bits(bits, 200), unpack_bits(runs[0], 200)) for bits in runs)


def test_what_is_dropped_does_not_matter(place: Place) -> None:
    inputs, seed = _inputs(place, 20, 72, 1, 4), torch.tensor(11, device=place.device)
    keep = philox_keep(seed, 20, 72, THRESHOLD)
    spoilt = inputs.x.masked_fill(~keep, torch.nan)
    clean, dirty = (
        place.run(shrink, x, inputs.lora_a, THRESHOLD, seed, SHRINKS["whole"])[0] for x in (inputs.x, spoilt)
    )
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("check", [_check_product, _check_single])
@pytest.mark.parametrize("r", [1, 17])
@pytest.mark.parametrize(("m", "k", "n"), CORE_SHAPES)
def test_products_by_address(place: Place, m: int, k: int, n: int, r: int, check: Any) -> None:
    check(place, _inputs(place, m, k, n, r), SMALL)


@pytest.mark.parametrize("check", [_check_product, _check_single])
@pytest.mark.parametrize("config", [SMALL_TMA, PERSISTENT], ids=["tiles", "persistent"])
def test_products_by_descriptor(place: Place, config: ProductConfig, check: Any) -> None:
    inputs = _inputs(place, 65, 136, 72, 8)
    assert aligned(inputs.x)
    check(place, inputs, config)


def test_what_a_descriptor_can_describe() -> None:
    matrix = torch.zeros(4, 64, dtype=torch.float16)
    assert aligned(matrix)
    assert aligned(matrix[:, 8:60])
    for other in (matrix[:, 4:], matrix.t(), matrix[:1].expand(4, 64), torch.zeros(4, 60, dtype=torch.float16)):
        assert not aligned(other)


@pytest.mark.parametrize("check", [_check_product, _check_single])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scaling", [0.0, -0.25, 1e-3, 64.0])
def test_every_scaling_with_and_without_bias(place: Place, scaling: float, bias: bool, check: Any) -> None:
    check(place, _inputs(place, 18, 40, 24, 3), SMALL, scaling, bias)


@pytest.mark.parametrize("check", [_check_product, _check_single])
@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_products_of_any_layout(place: Place, layout: str, check: Any) -> None:
    inputs = _inputs(place, 33, 65, 40, 4, layout)
    check(place, inputs._replace(weight=inputs.weight.t().contiguous().t()), SMALL)


@pytest.mark.parametrize("check", [_check_product, _check_single])
def test_adapters_in_the_dtype_of_the_base(place: Place, check: Any) -> None:
    check(place, _inputs(place, 16, 64, 32, 16, masters=False), SMALL)


@pytest.mark.parametrize("r", [33, 200])
def test_large_ranks_go_in_pieces(place: Place, r: int) -> None:
    inputs = _inputs(place, 20, 40, 33, r)
    _check_shrink(place, inputs, THRESHOLD, None)
    _check_product(place, inputs, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("r", [1, 3, 4, 8, 16, 17, 24, 33, 64, 200])
@pytest.mark.parametrize("shapes", range(len(HARD_SHAPES) // 12))
def test_hard_shapes_and_ranks(place: Place, shapes: int, r: int) -> None:
    for m, k, n in HARD_SHAPES[shapes :: len(HARD_SHAPES) // 12]:
        inputs = _inputs(place, m, k, n, r)
        _check_shrink(place, inputs, THRESHOLD, None)
        _check_shrink(place, inputs, 0, SHRINKS["split"])
        _check_product(place, inputs, None)
        if r <= 32:
            _check_single(place, inputs, None)
