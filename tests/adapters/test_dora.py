"""DoRA against its equation, written out with the whole matrix in float64."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minitl import LoraConfig
from minitl.adapters.dora import Dora, DoraRows, row_norms
from minitl.adapters.layer import LoraLinear

small = st.integers(1, 7)
few = settings(max_examples=60, deadline=None)


def layer_of(config: LoraConfig, out: int, inn: int, bias: bool, dtype: torch.dtype = torch.float32) -> LoraLinear:
    layer = LoraLinear(nn.Linear(inn, out, bias, dtype=dtype).requires_grad_(False))
    update = Dora(config, layer.weight)
    layer.adapters["default"] = update
    layer.active = "default"
    with torch.no_grad():
        update.lora_B.normal_()
        update.lora_magnitude_vector.mul_(torch.rand(out) + 0.5)
    return layer


def direction(layer: LoraLinear) -> Tensor:
    """W + s · BA."""
    update = layer.adapters["default"]
    return layer.weight + update.scaling * (update.lora_B @ update.lora_A)


def formula(layer: LoraLinear, x: Tensor) -> Tensor:
    v = direction(layer)
    weight = layer.adapters["default"].lora_magnitude_vector[:, None] * v / v.norm(dim=1, keepdim=True).detach()
    return x @ weight.T + (0 if layer.bias is None else layer.bias)


@few
@given(out=small, inn=small, r=st.integers(1, 20), shape=st.lists(small, max_size=3), bias=st.booleans())
def test_outputs_and_gradients_equal_the_formulas(out: int, inn: int, r: int, shape: list[int], bias: bool) -> None:
    layer = layer_of(LoraConfig(r=r, use_dora=True), out, inn, bias)
    update = layer.adapters["default"]
    x = torch.randn(*shape, inn, requires_grad=True)
    inputs = [x, update.lora_A, update.lora_B, update.lora_magnitude_vector]
    along = torch.randn(*shape, out)
    # Where W and s · BA nearly cancel in a row, dividing by what is left magnifies all roundings.
    sizes = layer.weight.norm(dim=1) + (update.scaling * update.lora_B @ update.lora_A).norm(dim=1)
    left = (layer.weight + update.scaling * update.lora_B @ update.lora_A).norm(dim=1)
    assume(bool((left > 0.2 * sizes).all()))
    actual, expected = layer(x), formula(layer, x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    got = torch.autograd.grad((actual * along).sum(), inputs)
    wanted = torch.autograd.grad((expected * along).sum(), inputs)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)


@few
@given(
    out=small, inn=st.integers(1, 300), r=st.integers(1, 40), scaling=st.floats(-8, 8), size=st.floats(0, 10),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_norms_without_the_product_equal_those_with_it(
    out: int, inn: int, r: int, scaling: float, size: float, seed: int
) -> None:
    torch.manual_seed(seed)
    w, a, b = torch.randn(out, inn), torch.randn(r, inn), size * torch.randn(out, r)
    expected = (w.double() + scaling * (b.double() @ a.double())).norm(dim=1)
    # Where W and s · BA cancel, or the terms of BA, what is left is small beside them: squares of sums of such terms
    # are what the formula adds and takes away.
    scale = (w.double().abs() + abs(scaling) * (b.double().abs() @ a.double().abs())).norm(dim=1)
    squares = row_norms(w, a, b, scaling).double().square()
    assert ((squares - expected.square()).abs() <= 2e-6 * scale.square().clamp(min=1e-30)).all()


def test_a_fresh_update_changes_nothing_and_its_magnitude_is_the_size_of_the_rows() -> None:
    base = nn.Linear(5, 3)
    layer = LoraLinear(base)
    layer.adapters["default"] = Dora(LoraConfig(r=2, use_dora=True), base.weight)
    torch.testing.assert_close(layer.adapters["default"].lora_magnitude_vector, base.weight.norm(dim=1))
    x = torch.randn(4, 5)
    plain = layer(x)
    layer.active = "default"
    torch.testing.assert_close(layer(x), plain)


def test_a_row_of_zeros_stays_one() -> None:
    base = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        base.weight[1] = 0
    update = Dora(LoraConfig(r=2, use_dora=True), base.weight)
    y = update(torch.randn(4, 5), base.weight, None)
    y.sum().backward()
    assert (y[:, 1] == 0).all()
    assert update.lora_magnitude_vector.grad.isfinite().all()


def test_dropout_acts_on_the_difference_from_the_base() -> None:
    layer = layer_of(LoraConfig(r=4, alpha=4, dropout=0.5, use_dora=True), 6, 400, bias=True)
    update = layer.adapters["default"]
    x = torch.randn(2, 400)
    torch.testing.assert_close(layer.eval()(x), formula(layer, x), rtol=1e-4, atol=1e-4)
    layer.train()
    torch.manual_seed(3)
    actual = layer(x)
    torch.manual_seed(3)
    from minitl_kernels import dropout

    dropped = dropout(x, 0.5, training=True)
    assert 0.3 < (dropped == 0).float().mean() < 0.7
    base = x @ layer.weight.T + layer.bias
    expected = base + dropped @ (update.merged(layer.weight) - layer.weight).T
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_magnitude_stays_float32_over_a_half_precision_base(dtype: torch.dtype) -> None:
    layer = layer_of(LoraConfig(r=4, use_dora=True), 6, 8, bias=True, dtype=dtype)
    update = layer.adapters["default"]
    x = torch.randn(3, 8, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert {p.dtype for p in update.parameters()} == {p.grad.dtype for p in update.parameters()} == {torch.float32}
    wide = layer_of(LoraConfig(r=4, use_dora=True), 6, 8, bias=True)
    wide.load_state_dict(layer.state_dict())
    torch.testing.assert_close(y.float(), wide(x.float()), rtol=0.03, atol=0.06)


def test_norms_are_not_rounded_under_autocast() -> None:
    w, a, b = torch.randn(6, 8), torch.randn(4, 8), torch.randn(6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(row_norms(w, a, b, 2.0), (w + 2 * (b.double() @ a.double()).float()).norm(dim=1))


def test_an_embeddings_magnitude_is_one_for_each_number_of_a_vector() -> None:
    table = torch.randn(9, 4)
    update = DoraRows(LoraConfig(r=3, use_dora=True), table)
    torch.testing.assert_close(update.lora_magnitude_vector, table.norm(dim=0))
    with torch.no_grad():
        update.lora_embedding_A.normal_()
        update.lora_magnitude_vector.mul_(1.5)
    v = table + update.scaling * (update.lora_embedding_B @ update.lora_embedding_A).T
    whole = update.lora_magnitude_vector * v / v.norm(dim=0)
    torch.testing.assert_close(update.merged(table), whole)
    ids = torch.tensor([[0, 3], [8, 8]])
    torch.testing.assert_close(update(ids, table, None), whole[ids])
