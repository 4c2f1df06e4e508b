"""The operator on a processor: its formulas, its gradients, what it saves, and what it refuses."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import dropout_mask, force_path, lora_linear
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from tests.kernels.lora.reference import assert_close, reference

size = st.integers(1, 40)
both_paths = pytest.mark.parametrize("path", ["plain", "cpu"])


def inputs(
    rows: int, columns: int, out: int, r: int, dtype: torch.dtype = torch.float32, seed: int = 0, bias: bool = True
) -> dict[str, Any]:
    """x, weight, bias and float32 A and B (float64 in float64), all of unit size."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.promote_types(dtype, torch.float32)

    def draw(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": draw(rows, columns).requires_grad_(),
        "weight": draw(out, columns),
        "bias": draw(out).requires_grad_() if bias else None,
        "lora_a": draw(r, columns, dtype=wide).requires_grad_(),
        "lora_b": draw(out, r, dtype=wide).requires_grad_(),
    }


def check(given: dict[str, Any], p: float, path: str | None, scaling: float = 1.5, seed: int = 11) -> None:
    """y and every gradient against the formulas."""
    x, dtype = given["x"], given["weight"].dtype
    with force_path(path):
        y = lora_linear(**given, scaling=scaling, dropout_p=p, training=True, seed=seed)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y.backward(direction)
    mask = dropout_mask(seed, x.shape, p) if p else None
    expected = reference(**given, scaling=scaling, direction=direction, mask=mask, p=p)
    assert y.dtype == dtype
    assert_close(y, expected["y"], dtype)
    for name in ("x", "lora_a", "lora_b", "bias"):
        if given[name] is not None:
            assert given[name].grad.dtype == given[name].dtype
            assert_close(given[name].grad, expected[name], dtype)


@both_paths
@settings(max_examples=60, deadline=None)
@given(
    rows=size,
    columns=size,
    out=size,
    r=st.integers(1, 50),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    bias=st.booleans(),
    p=st.sampled_from([0.0, 0.1, 0.5, 0.97]),
)
@pytest.mark.filterwarnings("ignore:rank")
def test_outputs_and_gradients_are_those_of_the_formulas(
    path: str, rows: int, columns: int, out: int, r: int, dtype: torch.dtype, bias: bool, p: float
) -> None:
    check(inputs(rows, columns, out, r, dtype, bias=bias), p, "plain" if dtype == torch.float64 else path)


@pytest.mark.parametrize("p", [0.0, 0.25])
def test_gradcheck(p: float) -> None:
    given = inputs(6, 5, 4, 2, torch.float64)

    def function(x: Tensor, bias: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        return lora_linear(x, given["weight"], bias, lora_a, lora_b, 1.5, p, training=True, seed=3)

    assert torch.autograd.gradcheck(function, (given["x"], given["bias"], given["lora_a"], given["lora_b"]))


@both_paths
@pytest.mark.parametrize("wanted", ["x", "lora_a", "lora_b", "bias"])
def test_one_gradient_alone_is_the_same(path: str, wanted: str) -> None:
    alone, together = inputs(9, 8, 7, 3), inputs(9, 8, 7, 3)
    for name, tensor in alone.items():
        if name not in (wanted, "weight"):
            tensor.requires_grad_(False)
    for case in (alone, together):
        with force_path(path):
            lora_linear(**case, scaling=0.5, dropout_p=0.3, training=True, seed=2).square().sum().backward()
    assert torch.equal(alone[wanted].grad, together[wanted].grad)
    assert [name for name, tensor in alone.items() if tensor.grad is not None] == [wanted]


@both_paths
@pytest.mark.parametrize("view", ["3-D", "transposed", "every other row", "1-D", "swapped"])
def test_any_view_of_x_will_do(path: str, view: str) -> None:
    given = inputs(12, 10, 7, 3)
    shaped: dict[str, Callable[[Tensor], Tensor]] = {
        "3-D": lambda x: x.view(3, 4, 10),
        "transposed": lambda x: x.t().contiguous().t(),
        "every other row": lambda x: x.repeat_interleave(2, dim=0)[::2],
        "1-D": lambda x: x[0],
        "swapped": lambda x: x.view(3, 4, 10).transpose(0, 1),
    }
    x = shaped[view](given["x"].detach())
    with force_path(path):
        y = lora_linear(**{**given, "x": x}, scaling=2.0)
        expected = lora_linear(**{**given, "x": x.contiguous().view(-1, 10)}, scaling=2.0)
    assert y.shape == (*x.shape[:-1], 7)
    torch.testing.assert_close(y.reshape(-1, 7), expected)


def test_an_empty_batch_is_fine() -> None:
    given = inputs(1, 10, 7, 3)
    x = torch.zeros(2, 0, 10, requires_grad=True)
    y = lora_linear(**{**given, "x": x}, scaling=1.0, dropout_p=0.1, training=True)
    assert y.shape == (2, 0, 7)
    y.sum().backward()
    assert torch.equal(given["lora_a"].grad, torch.zeros(3, 10))


@pytest.mark.filterwarnings("ignore:rank")
@pytest.mark.parametrize(("columns", "out"), [(0, 7), (10, 0)])
def test_a_layer_without_features_is_fine(columns: int, out: int) -> None:
    given = inputs(5, columns, out, 3)
    y = lora_linear(**given, scaling=1.0, dropout_p=0.1, training=True)
    torch.testing.assert_close(y, torch.nn.functional.linear(given["x"], given["weight"], given["bias"]))
    y.sum().backward()
    assert torch.equal(given["lora_a"].grad, torch.zeros(3, columns))


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_meta_device_knows_the_shape(p: float) -> None:
    given = {name: tensor.detach().to("meta") for name, tensor in inputs(5, 8, 7, 3).items()}
    y = lora_linear(**given, scaling=1.0, dropout_p=p, training=True)
    assert y.is_meta
    assert y.shape == (5, 7)


@both_paths
def test_a_seed_gives_one_mask_and_no_seed_follows_the_generator(path: str) -> None:
    given = inputs(9, 64, 7, 3)

    def run(seed: int | Tensor | None) -> Tensor:
        with force_path(path):
            return lora_linear(**given, scaling=1.0, dropout_p=0.5, training=True, seed=seed)

    assert torch.equal(run(4), run(torch.tensor(4)))
    assert not torch.equal(run(4), run(5))
    torch.manual_seed(0)
    first, second = run(None), run(None)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(first, run(None))
    assert torch.equal(run(-1), run(2**64 - 1))  # seeds count modulo 2⁶⁴


def test_dropout_acts_only_in_training() -> None:
    given = inputs(9, 64, 7, 3)
    plain = lora_linear(**given, scaling=1.0)
    assert torch.equal(lora_linear(**given, scaling=1.0, dropout_p=0.5, training=False), plain)
    assert torch.equal(lora_linear(**given, scaling=1.0, dropout_p=0.0, training=True, seed=1), plain)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_drop_as_many_as_they_say_independently(p: float) -> None:
    masks = [dropout_mask(seed, (64, 16, 257), p).double() - (1 - p) for seed in (0, 1)]
    count = masks[0].numel()
    assert abs(masks[0].mean()) < 5 * (p * (1 - p) / count) ** 0.5
    bound = 5 * p * (1 - p) / count**0.5
    assert abs((masks[0] * masks[1]).mean()) < bound
    flat = masks[0].flatten()
    for shift in (1, 2, 3, 4, 8, 16, 257):
        assert abs((flat[shift:] * flat[:-shift]).mean()) < 1.1 * bound


@both_paths
@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_sees_the_same_mask(path: str, reentrant: bool) -> None:
    plain, again = inputs(9, 64, 7, 3), inputs(9, 64, 7, 3)
    with force_path(path):
        torch.manual_seed(5)
        lora_linear(**plain, scaling=1.0, dropout_p=0.5, training=True).square().sum().backward()
        torch.manual_seed(5)
        y = checkpoint(
            lambda x: lora_linear(**{**again, "x": x}, scaling=1.0, dropout_p=0.5, training=True),
            again["x"],
            use_reentrant=reentrant,
        )
        y.square().sum().backward()
    assert torch.equal(plain["x"].grad, again["x"].grad)
    assert torch.equal(plain["lora_a"].grad, again["lora_a"].grad)


@both_paths
def test_what_is_saved_is_x_and_s_and_at_most_a_bit_per_element(path: str) -> None:
    rows, columns, r = 64, 128, 4
    given = inputs(rows, columns, 32, r)
    known = {given[name].data_ptr() for name in ("x", "weight", "lora_a", "lora_b")}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with force_path(path), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        lora_linear(**given, scaling=1.0, dropout_p=0.1, training=True)
    assert sum(saved.values()) <= rows * r * 4 + rows * columns // 8  # S, the bits


@both_paths
def test_autocast_computes_in_its_type_and_gives_float32_gradients(path: str) -> None:
    given = inputs(9, 64, 7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), force_path(path):
        y = lora_linear(**given, scaling=1.0)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(given[name].grad.dtype == torch.float32 for name in ("x", "lora_a", "lora_b", "bias"))
    expected = reference(**given, scaling=1.0, direction=torch.ones(9, 7))
    assert_close(y, expected["y"], torch.bfloat16)


def test_autocast_lets_float64_be_as_it_does_for_plain_layers() -> None:
    given = inputs(9, 64, 7, 3, torch.float64)
    expected = lora_linear(**given, scaling=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(lora_linear(**given, scaling=1.0), expected)


@both_paths
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_it_compiles_as_one_graph(path: str, backend: str) -> None:
    plain, compiled = inputs(9, 64, 7, 3), inputs(9, 64, 7, 3)
    seed = torch.tensor(8)

    def run(x: Tensor, bias: Tensor, lora_a: Tensor, lora_b: Tensor, weight: Tensor) -> Tensor:
        return lora_linear(torch.relu(x), weight, bias, lora_a, lora_b, 1.5, 0.3, True, seed).square().sum()

    with force_path(path):
        run(**plain).backward()
        torch.compile(run, fullgraph=True, backend=backend)(**compiled).backward()
    for name in ("x", "lora_a", "lora_b", "bias"):
        torch.testing.assert_close(compiled[name].grad, plain[name].grad)


@both_paths
def test_the_registered_operation_keeps_its_promises(path: str) -> None:
    given = inputs(9, 16, 7, 3)
    arguments = (*given.values(), 1.5, 20000, torch.tensor(3), path)
    torch.library.opcheck(torch.ops.minitl.lora_linear.default, arguments)


@both_paths
def test_the_registered_gradients_lie_as_they_promise_however_a_and_b_lie(path: str) -> None:
    x, weight, grad_y = torch.randn(9, 16), torch.randn(7, 16), torch.randn(9, 7)
    lora_a, lora_b = torch.randn(16, 3).t(), torch.randn(3, 7).t()
    _, s, bits = torch.ops.minitl.lora_linear(x, weight, None, lora_a, lora_b, 1.5, 0, None, path)
    tensors = grad_y, x, weight, lora_a, lora_b, s, bits
    found = torch.ops.minitl.lora_linear_backward(*tensors, 1.5, 0, [True] * 4, path)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(tensor) for tensor in tensors]
        promised = torch.ops.minitl.lora_linear_backward(*fakes, 1.5, 0, [True] * 4, path)
    assert [tensor.stride() for tensor in found] == [tensor.stride() for tensor in promised]


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_where_the_weight_learns_too_it_gets_its_gradient(p: float) -> None:
    given = inputs(9, 16, 7, 3)
    frozen = lora_linear(**given, scaling=1.5, dropout_p=p, training=True, seed=4)
    given["weight"].requires_grad_()
    y = lora_linear(**given, scaling=1.5, dropout_p=p, training=True, seed=4)
    torch.testing.assert_close(y, frozen)
    y.sum().backward()
    torch.testing.assert_close(given["weight"].grad, given["x"].detach().sum(0).expand(7, 16))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_weight_that_learns_compiles_as_one_graph(backend: str, dynamic: bool) -> None:
    plain, compiled = inputs(9, 64, 7, 3), inputs(9, 64, 7, 3)

    def run(**tensors: Tensor) -> Tensor:
        return lora_linear(**tensors, scaling=1.5, dropout_p=0.3, training=True, seed=5).square().sum()

    for tensors in (plain, compiled):
        tensors["weight"].requires_grad_()
    run(**plain).backward()
    torch.compile(run, fullgraph=True, backend=backend, dynamic=dynamic)(**compiled).backward()
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name].grad, tensor.grad)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": torch.ones(3, 4, dtype=torch.int64)}, TypeError, "x must hold floating-point numbers, got torch.int64"),
    ({"x": [[1.0]]}, TypeError, "x must be a tensor, got a list"),
    ({"lora_a": None}, TypeError, "lora_a must be a tensor, got a NoneType"),
    ({"weight": torch.ones(5, 4, dtype=torch.int32)}, TypeError, "weight must hold"),
    ({"lora_a": torch.ones(2, 4, dtype=torch.int32)}, TypeError, "lora_a must hold"),
    ({"x": torch.ones(3, 5)}, ValueError, r"got \[3, 5\] and \[5, 4\]"),
    ({"weight": torch.ones(4)}, ValueError, r"weight \[out, in\]"),
    ({"bias": torch.ones(4)}, ValueError, r"bias must be \[5\], got \[4\]"),
    ({"lora_a": torch.ones(2, 3)}, ValueError, r"lora_a must be \[r, 4\]"),
    ({"lora_b": torch.ones(2, 5)}, ValueError, r"lora_b \[5, r\]"),
    ({"lora_b": torch.ones(5, 3)}, ValueError, "one rank r of at least 1, got 2 and 3"),
    ({"lora_a": torch.ones(0, 4), "lora_b": torch.ones(5, 0)}, ValueError, "at least 1, got 0"),
    ({"lora_a": torch.ones(2, 4, device="meta")}, ValueError, "lora_a is on meta, x on cpu"),
    ({"weight": torch.ones(5, 4, device="meta")}, ValueError, "weight is on meta, x on cpu"),
    ({"x": torch.ones(3, 4, dtype=torch.float64)}, TypeError, "must have one type"),
    ({"lora_a": torch.ones(2, 4, dtype=torch.float16)}, TypeError, "lora_a must be torch.float32"),
    ({"scaling": float("inf")}, ValueError, "scaling must be finite"),
    ({"scaling": "1"}, TypeError, "scaling must be a number, got '1'"),
    ({"dropout_p": None}, TypeError, "dropout_p must be a number, got None"),
    ({"dropout_p": float("nan")}, ValueError, r"dropout_p must lie in \[0, 1\), got nan"),
    ({"dropout_p": 1.0, "training": True}, ValueError, r"dropout_p must lie in \[0, 1\), got 1.0"),
    ({"dropout_p": 0.5, "training": True, "seed": 1.0}, TypeError, "seed must be an int"),
    ({"dropout_p": 0.5, "training": True, "seed": torch.ones(2)}, ValueError, "0-d int64 tensor on cpu"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], error: type[Exception], message: str) -> None:
    fine = {
        "x": torch.ones(3, 4),
        "weight": torch.ones(5, 4),
        "bias": torch.ones(5),
        "lora_a": torch.ones(2, 4),
        "lora_b": torch.ones(5, 2),
        "scaling": 1.0,
    }
    lora_linear(**fine)
    with pytest.raises(error, match=message):
        lora_linear(**{**fine, **change})


def test_a_rank_beyond_the_layers_warns_and_works() -> None:
    with pytest.warns(UserWarning, match=r"rank 9 is beyond that of a \[7, 8\] weight"):
        check(inputs(5, 8, 7, 9), 0.2, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(inputs(5, 8, 7, 7), 0.2, None)


def test_a_rank_beyond_the_layers_compiles_as_one_graph() -> None:
    given = inputs(5, 8, 7, 9)
    compiled = torch.compile(lora_linear, fullgraph=True, backend="aot_eager")(**given, scaling=1.5)
    with pytest.warns(UserWarning, match="rank 9"):
        torch.testing.assert_close(compiled, lora_linear(**given, scaling=1.5))


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match="plain, cpu, cuda"), force_path("fast"):
        pass
