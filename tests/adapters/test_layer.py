"""The layer against its equation, written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minitl import LoraConfig
from minitl.adapters.layer import LoraLinear, LowRank

small = st.integers(1, 7)
few = settings(max_examples=60, deadline=None)


def layer_of(config: LoraConfig, out: int, inn: int, bias: bool, dtype: torch.dtype = torch.float32) -> LoraLinear:
    layer = LoraLinear(nn.Linear(inn, out, bias, dtype=dtype).requires_grad_(False))
    layer.adapters["default"] = LowRank(config, layer.weight)
    layer.active = "default"
    update = layer.adapters["default"]
    nn.init.normal_(update.lora_B)
    return layer


def formula(layer: LoraLinear, x: Tensor) -> Tensor:
    """xWᵀ + b + s · xAᵀBᵀ"""
    update = layer.adapters["default"]
    base = x @ layer.weight.T + (0 if layer.bias is None else layer.bias)
    return base + update.scaling * (x @ update.lora_A.T @ update.lora_B.T)


@few
@given(
    out=small,
    inn=small,
    r=st.integers(1, 20),
    shape=st.lists(small, max_size=3),
    bias=st.booleans(),
    root=st.booleans(),
)
def test_outputs_and_gradients_equal_the_formulas_for_any_shape_and_rank(
    out: int, inn: int, r: int, shape: list[int], bias: bool, root: bool
) -> None:
    layer = layer_of(LoraConfig(r=r, use_rslora=root), out, inn, bias)
    update = layer.adapters["default"]
    x = torch.randn(*shape, inn, requires_grad=True)
    inputs = [x, update.lora_A, update.lora_B]
    direction = torch.randn(*shape, out)
    actual, expected = layer(x), formula(layer, x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    got = torch.autograd.grad((actual * direction).sum(), inputs)
    wanted = torch.autograd.grad((expected * direction).sum(), inputs)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)


def test_a_fresh_update_changes_nothing() -> None:
    base = nn.Linear(5, 3)
    layer = LoraLinear(base)
    layer.adapters["default"] = LowRank(LoraConfig(r=2), base.weight)
    layer.active = "default"
    x = torch.randn(4, 5)
    assert torch.equal(layer(x), base(x))


def test_the_layer_takes_over_the_bases_tensors_and_gives_them_back() -> None:
    base = nn.Linear(5, 3).eval()
    layer = LoraLinear(base)
    assert layer.weight is base.weight
    assert layer.bias is base.bias
    assert not layer.training
    plain = layer.plain()
    assert type(plain) is nn.Linear
    assert plain.weight is base.weight
    assert plain.bias is base.bias


def test_dropout_acts_on_the_updates_input_and_only_in_training() -> None:
    layer = layer_of(LoraConfig(r=4, alpha=4, dropout=0.5), 6, 400, bias=True)
    update = layer.adapters["default"]
    x = torch.randn(2, 400)
    torch.testing.assert_close(layer.eval()(x), formula(layer, x))
    layer.train()
    torch.manual_seed(3)
    actual = layer(x)
    torch.manual_seed(3)
    from minitl_kernels import dropout

    dropped = dropout(x, 0.5, training=True)
    assert 0.3 < (dropped == 0).float().mean() < 0.7
    base = x @ layer.weight.T + layer.bias
    torch.testing.assert_close(actual, base + dropped @ update.lora_A.T @ update.lora_B.T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_updates_stay_float32_over_a_half_precision_base_and_get_float32_gradients(dtype: torch.dtype) -> None:
    layer = layer_of(LoraConfig(r=4), 6, 8, bias=True, dtype=dtype)
    update = layer.adapters["default"]
    x = torch.randn(3, 8, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert update.lora_A.grad.dtype == update.lora_B.grad.dtype == torch.float32
    wide = layer_of(LoraConfig(r=4), 6, 8, bias=True)
    wide.load_state_dict(layer.state_dict())
    torch.testing.assert_close(y.float(), wide(x.float()), rtol=0.02, atol=0.05)


def test_the_layer_works_under_autocast() -> None:
    layer = layer_of(LoraConfig(r=4), 6, 8, bias=True)
    x = torch.randn(2, 3, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), formula(layer, x), rtol=0.02, atol=0.05)
    y.float().sum().backward()
    assert layer.adapters["default"].lora_A.grad.dtype == torch.float32
