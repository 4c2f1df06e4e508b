"""Packed weights give the products of plain ones, for the time they are lent and no longer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from minitl_kernels import PackedLinears, packed
from torch import nn

pytestmark = pytest.mark.skipif(not packed.can_pack(torch.zeros(1, 1)), reason="this build of torch has no such kernel")


class Derived(nn.Linear):
    """A linear layer with a forward of its own, as LoRA's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


@given(
    rows=st.integers(1, 40),
    laid_out_for=st.integers(1, 16),
    inner=st.integers(1, 70),
    outer=st.integers(1, 70),
    bias=st.booleans(),
    transposed=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_packed_product_is_the_product(
    rows: int, laid_out_for: int, inner: int, outer: int, bias: bool, transposed: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(inner, outer, bias=bias, dtype=dtype)
    if transposed:  # as GPT-2's files have it
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    if not packed.can_pack(layer.weight):
        return
    for x in (torch.randn(rows, inner, dtype=dtype), torch.randn(2, rows, inner, dtype=dtype)):
        with torch.no_grad():
            expected = layer.double()(x.double())
            layer.to(dtype)
            with PackedLinears(layer.modules(), laid_out_for):
                actual = layer(x)
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 3e-2)


def test_only_plain_layers_are_packed_and_only_within() -> None:
    model = nn.Sequential(nn.Linear(4, 5), Derived(5, 6), nn.Linear(6, 3, dtype=torch.float64))
    before = [dict(layer.__dict__) for layer in model]
    with PackedLinears(model.modules(), 1):
        assert ["forward" in layer.__dict__ for layer in model] == [True, False, False]
    assert [dict(layer.__dict__) for layer in model] == before
    with pytest.raises(ZeroDivisionError), PackedLinears(model.modules(), 1):
        _ = 1 / 0
    assert "forward" not in model[0].__dict__


def test_what_would_take_too_much_memory_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6))
    for limit, count in ((200, 2), (199, 0)):  # 4 · (20 + 30) bytes
        monkeypatch.setattr(packed, "LIMIT", limit)
        with PackedLinears(model.modules(), 1):
            assert sum("forward" in layer.__dict__ for layer in model) == count


def test_two_may_pack_one_model_at_a_time() -> None:
    layer, x = nn.Linear(4, 5), torch.randn(1, 4)
    with torch.no_grad():
        expected = layer(x)
        first, second = PackedLinears(layer.modules(), 1), PackedLinears(layer.modules(), 1)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        torch.testing.assert_close(layer(x), expected)
        second.__exit__(None, None, None)
    assert "forward" not in layer.__dict__


def test_a_weight_without_memory_or_elsewhere_is_not_packed() -> None:
    assert not packed.can_pack(torch.empty(2, 2, device="meta"))
    assert not packed.can_pack(torch.empty(2, 2, dtype=torch.float16))


def test_what_a_thread_trains_meanwhile_gets_its_gradients() -> None:
    layer, x = nn.Linear(4, 5), torch.randn(1, 4)
    with PackedLinears([layer], 1):
        layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None


def test_a_forward_of_ones_own_is_used_and_stays() -> None:
    layer, x = nn.Linear(4, 5), torch.randn(1, 4)
    layer.forward = lambda x: -nn.Linear.forward(layer, x)  # type: ignore[method-assign]
    own = layer.__dict__["forward"]
    with torch.inference_mode():
        expected = layer(x)
        with PackedLinears([layer], 1):
            assert torch.equal(layer(x), expected)
    assert layer.__dict__["forward"] is own


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_other_types_of_x_are_as_without_packing(dtype: torch.dtype) -> None:
    layer, x = nn.Linear(4, 5), torch.randn(1, 4)
    packed_ = PackedLinears([layer], 1)
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        expected = layer(x)
        with packed_:
            assert torch.equal(layer(x), expected)
    layer.to(torch.bfloat16)
    with torch.inference_mode(), packed_:
        assert torch.equal(layer(x.bfloat16()), nn.Linear.forward(layer, x.bfloat16()))


def test_a_changed_weight_is_seen() -> None:
    layer, x = nn.Linear(4, 5), torch.randn(1, 4)
    packed_ = PackedLinears([layer], 1)
    with torch.no_grad():
        layer.weight.mul_(2)
    with torch.inference_mode(), packed_:
        assert torch.equal(layer(x), nn.Linear.forward(layer, x))
