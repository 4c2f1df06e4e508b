import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import dropout
from torch.autograd import gradcheck, gradgradcheck

DRAWS = 400_000


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_a_share_of_p_is_dropped_and_the_expectation_stays(p: float) -> None:
    y = dropout(torch.ones(DRAWS), p, training=True)
    deviation = math.sqrt(p * (1 - p) / DRAWS)
    assert abs(float(y.eq(0).float().mean()) - p) < 5 * deviation
    assert abs(float(y.double().mean()) - 1) < 5 * deviation / (1 - p)
    kept = y[y != 0]
    assert kept.eq(kept[0]).all()
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-3)


def test_neighbours_are_dropped_independently() -> None:
    dropped = dropout(torch.ones(DRAWS), 0.5, training=True).eq(0).double() - 0.5
    for distance in (1, 2, 3, 4, 8):  # four neighbours share one 64-bit draw
        correlation = float((dropped[distance:] * dropped[:-distance]).mean()) / 0.25
        assert abs(correlation) < 5 / math.sqrt(DRAWS)


def test_the_expectation_is_exact_where_p_is_rounded() -> None:
    p = 1 / 3
    kept = float(dropout(torch.ones(1000, dtype=torch.float64), p, training=True).max())
    share = 1 / kept  # what the scale takes the probability of keeping to be
    assert share * 2**16 == pytest.approx(round(share * 2**16), abs=1e-6)
    assert share == pytest.approx(1 - p, abs=2**-17)


def test_the_rarest_survivor_still_survives() -> None:
    p = 1 - 2**-16  # one of the 65,536 values that are drawn
    kept = int(dropout(torch.ones(1 << 22), p, training=True).count_nonzero())
    assert 64 - 5 * 8 < kept < 64 + 5 * 8  # a Poisson count of mean 64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gradient_is_the_scaled_mask(dtype: torch.dtype) -> None:
    x = torch.randn(37, 5, dtype=dtype, requires_grad=True)
    y = dropout(torch.ones_like(x) * x, 0.3, training=True)
    y.sum().backward()
    kept = y.ne(0)
    assert y.dtype == dtype
    assert x.grad.ne(0).eq(kept | (x == 0)).all()
    torch.testing.assert_close(y, x * x.grad)
    assert x.grad[kept].eq(x.grad[kept][0]).all()


def test_the_gradient_is_that_of_finite_differences_and_so_is_its_own() -> None:
    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return dropout(x, 0.4, training=True) ** 3

    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(seeded, x)
    assert gradgradcheck(seeded, x)


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(0, 7), min_size=0, max_size=4), seed=st.integers(0, 2**32))
def test_any_shape_is_served_and_the_seed_decides(shape: list[int], seed: int) -> None:
    x = torch.randn(shape) + 10
    torch.manual_seed(seed)
    first = dropout(x, 0.5, training=True)
    torch.manual_seed(seed)
    again = dropout(x, 0.5, training=True)
    assert first.shape == x.shape
    assert torch.equal(first, again)


def test_another_seed_draws_another_mask() -> None:
    x = torch.ones(1000)
    torch.manual_seed(1)
    first = dropout(x, 0.5, training=True)
    assert not torch.equal(first, dropout(x, 0.5, training=True))


def test_p_zero_keeps_and_p_one_drops_everything() -> None:
    x = torch.randn(100, requires_grad=True)
    assert dropout(x, 0.0, training=True) is x
    gone = dropout(x, 1.0, training=True)
    assert gone.eq(0).all()
    gone.sum().backward()
    assert x.grad.eq(0).all()


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_a_p_that_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        dropout(torch.ones(3), p, training=True)


def test_memory_that_is_not_contiguous_is_served() -> None:
    x = torch.randn(40, 30).t()
    y = dropout(x, 0.5, training=True)
    torch.testing.assert_close(y[y != 0], 2 * x[y != 0])
