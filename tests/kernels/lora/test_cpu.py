"""The processor's path: the same numbers as the formulas, no work and no memory that is not needed."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import dropout_mask, force_path, lora_linear
from minitl_kernels.lora import cpu
from minitl_kernels.lora.inputs import Inputs, Needs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.kernels.lora.reference import assert_close, reference

NAMES = ("x", "lora_a", "lora_b", "bias")
SEED = torch.tensor(21)
THRESHOLD = 6554
hard_size = st.sampled_from([1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 65, 127])
needs = st.builds(Needs, *[st.booleans()] * 4)


def inputs(rows: int, columns: int, out: int, r: int, dtype: torch.dtype, half: bool = False) -> dict[str, Any]:
    """x, W, b and float32 A and B; these too of `dtype` if `half`."""
    generator = torch.Generator().manual_seed(rows + columns)

    def draw(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    learnt = dtype if half else torch.float32
    return {
        "x": draw(rows, columns),
        "weight": draw(out, columns),
        "bias": draw(out),
        "lora_a": draw(r, columns, dtype=learnt),
        "lora_b": draw(out, r, dtype=learnt),
    }


def run(given: dict[str, Any], grad_y: Tensor, threshold: int, needs: Needs) -> tuple[Tensor, dict[str, Tensor | None]]:
    """y, and the gradients by name."""
    call = Inputs(**given, scaling=0.75, threshold=threshold, seed=SEED)
    y, s, bits = cpu.forward(call)
    grads = cpu.backward(grad_y, call, s, bits, needs)
    return y, dict(zip(NAMES, grads, strict=True))


class Products(TorchDispatchMode):
    """Notes the output shape of every matrix product, and the largest number of elements of any output."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(part in str(function) for part in ("addmm", ".mm", "matmul", "linear")):
            self.shapes.append(tuple(result.shape))
        return result


@settings(max_examples=150, deadline=None)
@given(
    rows=hard_size,
    columns=hard_size,
    out=hard_size,
    r=st.sampled_from([1, 2, 5, 16, 33, 130]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    half=st.booleans(),
    threshold=st.sampled_from([0, 1, 256, THRESHOLD, 60000]),
    layout=st.sampled_from(["plain", "transposed", "sliced"]),
    needs=needs,
)
def test_outputs_and_needed_gradients_are_those_of_the_formulas(
    rows: int,
    columns: int,
    out: int,
    r: int,
    dtype: torch.dtype,
    half: bool,
    threshold: int,
    layout: str,
    needs: Needs,
) -> None:
    given = inputs(rows, columns, out, r, dtype, half)
    grad_y = torch.randn(rows, out, generator=torch.Generator().manual_seed(1)).to(dtype)
    if layout == "transposed":
        given["x"], grad_y = given["x"].t().contiguous().t(), grad_y.t().contiguous().t()
    if layout == "sliced":
        given["x"], grad_y = torch.cat([given["x"]] * 2, 1)[:, :columns], torch.cat([grad_y] * 2, 1)[:, :out]
    y, grads = run(given, grad_y, threshold, needs)
    p = threshold / 65536
    mask = dropout_mask(SEED, (rows, columns), p) if threshold else None
    expected = reference(**given, scaling=0.75, direction=grad_y, mask=mask, p=p)
    assert_close(y, expected["y"], dtype)
    for name in NAMES:
        grad = grads[name]
        assert (grad is not None) == getattr(needs, name)
        if grad is not None:
            assert grad.dtype == given[name].dtype
            assert_close(grad, expected[name], dtype)


@pytest.mark.parametrize(
    ("needs", "shapes"),
    [
        (Needs(False, False, False, False), []),
        (Needs(False, False, False, True), []),
        (Needs(False, False, True, False), [(3, 48)]),
        (Needs(False, True, False, False), [(64, 3), (3, 40)]),
        (Needs(True, False, False, False), [(64, 3), (64, 40), (64, 40)]),
        (Needs(True, True, True, True), [(3, 48), (64, 3), (64, 40), (64, 40), (3, 40)]),
    ],
)
def test_only_what_is_needed_is_multiplied(needs: Needs, shapes: list[tuple[int, ...]]) -> None:
    given = inputs(64, 40, 48, 3, torch.float32)
    call = Inputs(**given, scaling=0.75, threshold=THRESHOLD, seed=SEED)
    _, s, bits = cpu.forward(call)
    with Products() as products:
        cpu.backward(torch.randn(64, 48), call, s, bits, needs)
    assert products.shapes == shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0, THRESHOLD])
def test_rows_without_a_gradient_are_not_multiplied(dtype: torch.dtype, threshold: int) -> None:
    given = inputs(64, 40, 48, 3, dtype)
    grad_y = torch.zeros(64, 48, dtype=dtype)
    grad_y[::16] = 1
    grad_y[5, 47] = 2  # beyond the columns that are looked at first
    grad_y[6] = -0.0
    with Products() as products:
        _, grads = run(given, grad_y, threshold, Needs(True, True, True, True))
    assert all(shape[0] in (3, 5) for shape in products.shapes[3:])
    p = threshold / 65536
    mask = dropout_mask(SEED, (64, 40), p) if threshold else None
    expected = reference(**given, scaling=0.75, direction=grad_y, mask=mask, p=p)
    for name in NAMES:
        grad = grads[name]
        assert grad is not None
        assert_close(grad, expected[name], dtype)
    assert grads["x"] is not None
    assert grads["x"][6:16].eq(0).all()


def test_a_gradient_that_is_not_a_number_is_not_taken_for_zero() -> None:
    given = inputs(64, 40, 48, 3, torch.float32)
    grad_y = torch.zeros(64, 48)
    grad_y[9, 40] = math.nan
    _, grads = run(given, grad_y, THRESHOLD, Needs(True, True, True, True))
    assert grads["x"] is not None
    assert grads["x"][9].isnan().all()
    assert grads["x"][:9].eq(0).all()
    assert all(grad is not None and grad.isnan().any() for grad in grads.values())


def test_no_row_with_a_gradient_is_a_gradient_of_zero() -> None:
    given = inputs(8, 4, 6, 2, torch.bfloat16)
    _, grads = run(given, torch.zeros(8, 6, dtype=torch.bfloat16), THRESHOLD, Needs(True, True, True, True))
    for name in NAMES:
        grad = grads[name]
        assert grad is not None
        assert grad.shape == given[name].shape
        assert grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_float32_parameters_are_not_rounded(dtype: torch.dtype) -> None:
    given = inputs(512, 40, 48, 3, dtype)
    call = Inputs(**given, scaling=0.75, threshold=0, seed=None)
    grad_y = torch.randn(512, 48).to(dtype)
    _, s, bits = cpu.forward(call)
    _, _, grad_b, _ = cpu.backward(grad_y, call, s, bits, Needs(False, False, True, False))
    exact = 0.75 * grad_y.double().t() @ s.double()
    assert grad_b is not None
    error = float((grad_b.double() - exact).norm() / exact.norm())
    assert error < 2e-5  # one rounding to bfloat16 costs 1.6e-3, to float16 2e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_broadcast_gradient_is_served(dtype: torch.dtype) -> None:
    given = inputs(20, 24, 40, 2, dtype)
    together = run(given, torch.ones((), dtype=dtype).expand(20, 40), THRESHOLD, Needs(True, True, True, True))
    written = run(given, torch.ones(20, 40, dtype=dtype), THRESHOLD, Needs(True, True, True, True))
    for name in NAMES:
        torch.testing.assert_close(together[1][name], written[1][name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_call_gives_the_same_bits(dtype: torch.dtype) -> None:
    given = inputs(300, 64, 96, 16, dtype)
    grad_y = torch.randn(300, 96).to(dtype)
    first, again = (run(given, grad_y, THRESHOLD, Needs(True, True, True, True)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    for name in NAMES:
        one, other = first[1][name], again[1][name]
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.1])
def test_saved_are_x_and_s_and_a_bit_an_element(dtype: torch.dtype, p: float) -> None:
    given = inputs(99, 33, 40, 5, dtype)
    for name in NAMES:
        given[name].requires_grad_()
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t), force_path("cpu"):
        lora_linear(**given, scaling=2.0, dropout_p=p, training=True, seed=3)
    own = {t.untyped_storage().data_ptr() for t in given.values()}
    extra = sum(t.nbytes for t in saved if t.untyped_storage().data_ptr() not in own)
    assert 99 * 5 * dtype.itemsize <= extra <= 99 * 5 * dtype.itemsize + (math.ceil(99 * 33 / 8) if p else 0)


def test_saved_shapes_are_what_is_saved() -> None:
    given = inputs(9, 5, 4, 2, torch.float32)
    for threshold in (0, THRESHOLD):
        _, s, bits = cpu.forward(Inputs(**given, scaling=1.0, threshold=threshold, seed=SEED))
        assert cpu.saved_shapes(9, 5, 2, threshold) == (tuple(s.shape), tuple(bits.shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_machine_without_onednn_gets_the_same_numbers(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    given = inputs(40, 24, 32, 4, dtype)
    grad_y = torch.randn(40, 32).to(dtype)
    with_it = run(given, grad_y, THRESHOLD, Needs(True, True, True, True))
    monkeypatch.setattr(cpu, "can_pack", lambda _: False)
    without = run(given, grad_y, THRESHOLD, Needs(True, True, True, True))
    torch.testing.assert_close(with_it[0], without[0])
    for name in NAMES:
        torch.testing.assert_close(with_it[1][name], without[1][name])
