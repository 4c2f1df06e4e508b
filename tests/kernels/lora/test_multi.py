"""Several adapters in one call: each row gets what its own adapter gives, and each adapter learns from its own rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import dropout_mask, force_path, lora_linear, lora_linear_multi
from torch import Tensor

from tests.kernels.lora.mixed import Case, case, expected, leaves
from tests.kernels.lora.reference import assert_close

PATHS = ["plain", "cpu"]
each_path = pytest.mark.parametrize("path", PATHS)


def check(given: Case, ps: list[float], path: str | None, seed: int = 11) -> None:
    """y and every gradient against the formulas."""
    dtype = given["weight"].dtype
    with force_path(path):
        y = lora_linear_multi(**given, dropout_p=ps, training=True, seed=seed)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y.backward(direction)
    wanted = expected(given, direction, ps, {p: dropout_mask(seed, given["x"].shape, p) for p in ps})
    assert y.dtype == dtype
    assert_close(y, wanted["y"], dtype)
    for name, tensor in leaves(given).items():
        assert tensor.grad is not None
        assert tensor.grad.dtype == tensor.dtype
        assert_close(tensor.grad, wanted[name], dtype)


@each_path
@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:adapter|rank")
def test_outputs_and_gradients_are_those_of_the_formulas(path: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    ids = data.draw(st.lists(st.integers(-1, count - 1), min_size=1, max_size=40))
    ranks = data.draw(st.lists(st.integers(1, 64), min_size=count, max_size=count))
    columns, out = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    p = data.draw(st.sampled_from([0.0, 0.1, 0.5, None]))  # None: one probability for each adapter
    ps = data.draw(st.lists(st.sampled_from([0.0, 0.3, 0.6]), min_size=count, max_size=count)) if p is None else None
    if data.draw(st.booleans()):
        ids = sorted(ids)
    check(case(ids, ranks, columns, out, dtype, bias=data.draw(st.booleans())), ps or [p or 0.0] * count, path)


@each_path
@pytest.mark.parametrize("ids", [[0] * 9, [-1] * 9, [2, 0, 2, 0, 2, 2, -1, 0], [0, 0, 2, 2, 2, -1, -1], [1]])
def test_adapters_with_all_rows_or_none(path: str, ids: list[int]) -> None:
    given = case(ids, [3, 8, 5])
    check(given, [0.2] * 3, path)
    for i in range(3):
        if i not in ids:
            assert torch.equal(given["lora_as"][i].grad, torch.zeros(given["lora_as"][i].shape))
            assert torch.equal(given["lora_bs"][i].grad, torch.zeros(given["lora_bs"][i].shape))


@each_path
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_rows_of_an_adapter_get_what_lora_linear_gives_them(path: str, p: float) -> None:
    given = case([0, 1, -1, 1, 0, 0, 1, -1], [4, 2])
    with force_path(path):
        y = lora_linear_multi(**given, dropout_p=p, training=True, seed=5)
        for i in range(2):
            alone = lora_linear(
                given["x"], given["weight"], given["bias"], given["lora_as"][i], given["lora_bs"][i],
                given["scalings"][i], p, training=True, seed=5,
            )  # fmt: skip
            rows = given["adapter_ids"] == i
            torch.testing.assert_close(y[rows], alone[rows])
    base = torch.nn.functional.linear(given["x"], given["weight"], given["bias"])
    torch.testing.assert_close(y[given["adapter_ids"] == -1], base[given["adapter_ids"] == -1])


@each_path
@given(order=st.permutations(range(12)))
def test_permuted_rows_give_permuted_outputs(path: str, order: list[int]) -> None:
    given = case([0, 1, 2, -1] * 3, [4, 2, 7])
    shuffled = given | {"x": given["x"][order], "adapter_ids": given["adapter_ids"][order]}
    with force_path(path):
        torch.testing.assert_close(lora_linear_multi(**shuffled), lora_linear_multi(**given)[order])


@each_path
@pytest.mark.parametrize("p", [0.0, [0.25, 0.5, 0.0]])
def test_gradcheck(path: str, p: float | list[float]) -> None:
    given = case([0, 2, -1, 0, 2, 1], [2, 1, 3], 5, 4, torch.float64)

    def function(x: Tensor, bias: Tensor, *low_rank: Tensor) -> Tensor:
        with force_path(path):
            return lora_linear_multi(
                x, given["weight"], bias, low_rank[:3], low_rank[3:], given["scalings"], given["adapter_ids"],
                p, training=True, seed=3,
            )  # fmt: skip

    assert torch.autograd.gradcheck(function, (given["x"], given["bias"], *given["lora_as"], *given["lora_bs"]))


@each_path
@pytest.mark.parametrize("wanted", ["x", "lora_as[1]", "lora_bs[1]", "bias"])
def test_one_gradient_alone_is_the_same(path: str, wanted: str) -> None:
    alone, together = (case([0, 1, -1, 1, 0], [3, 2]) for _ in range(2))
    for name, tensor in leaves(alone).items():
        tensor.requires_grad_(name == wanted)
    for arguments in (alone, together):
        with force_path(path):
            lora_linear_multi(**arguments, dropout_p=0.3, training=True, seed=2).square().sum().backward()
    assert torch.equal(leaves(alone)[wanted].grad, leaves(together)[wanted].grad)
    assert [name for name, tensor in leaves(alone).items() if tensor.grad is not None] == [wanted]


@each_path
def test_one_id_for_each_sentence_or_for_each_token(path: str) -> None:
    given = case([1, 1, 1, -1, -1, -1, 0, 0, 0], [3, 2])
    sentences = given | {"x": given["x"].view(3, 3, 12), "adapter_ids": torch.tensor([1, -1, 0])}
    tokens = sentences | {"adapter_ids": given["adapter_ids"]}
    with force_path(path):
        y = lora_linear_multi(**given)
        assert torch.equal(lora_linear_multi(**sentences), y.view(3, 3, 10))
        assert torch.equal(lora_linear_multi(**tokens), y.view(3, 3, 10))
        vector = given | {"x": given["x"][0], "adapter_ids": torch.tensor([1])}
        torch.testing.assert_close(lora_linear_multi(**vector), y[0])
        column_major = given["x"].detach().t().contiguous().t()
        torch.testing.assert_close(lora_linear_multi(**given | {"x": column_major}), y)


def test_an_adapter_that_diverged_spoils_its_own_rows_alone() -> None:
    given = case([0, 1, 0, 1, -1], [3, 2])
    given["lora_bs"][1].data.fill_(float("nan"))
    y = lora_linear_multi(**given)
    assert y.isfinite().all(dim=1).tolist() == [True, False, True, False, True]


def test_the_backward_pass_keeps_x_and_s_alone() -> None:
    given, kept = case([0, 1] * 32, [3, 2], columns=64, out=96), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        lora_linear_multi(**given, dropout_p=0.1, training=True)
    inputs = {t.data_ptr() for t in (given["weight"], given["adapter_ids"], *given["lora_as"], *given["lora_bs"])}
    sizes = [t.numel() * t.element_size() for t in kept if t.data_ptr() not in inputs]
    assert sorted(sizes) == [8, 64 * 3 * 4, 64 * 64 * 4]  # the seed, S, x


@pytest.mark.parametrize("path", ["plain", "cpu"])
@pytest.mark.parametrize("p", [0.0, 0.2])
def test_torch_compile_sees_one_graph(path: str, p: float) -> None:
    def run(given: Case, compiled: bool) -> tuple[Tensor, list[Tensor]]:
        def call(x: Tensor, lora_as: list[Tensor], lora_bs: list[Tensor]) -> Tensor:
            named = given | {"x": x, "lora_as": lora_as, "lora_bs": lora_bs}
            return lora_linear_multi(**named, dropout_p=p, training=True, seed=seed).tanh()

        function = torch.compile(call, fullgraph=True, backend="aot_eager") if compiled else call
        y = function(given["x"], given["lora_as"], given["lora_bs"])
        y.square().sum().backward()
        return y, [t.grad for t in leaves(given).values()]

    seed = torch.tensor(9)
    with force_path(path):
        plain, compiled = (run(case([0, 1, -1, 1, 0], [3, 2]), compiled) for compiled in (False, True))
    torch.testing.assert_close(compiled, plain)


@each_path
def test_the_registration_passes_pytorchs_own_checks(path: str) -> None:
    given = case([0, 1, -1, 1, 0], [3, 2])
    operation = torch.ops.minitl.lora_linear_multi.default
    low_rank = given["lora_as"], given["lora_bs"], given["scalings"], [100, 0]
    base = given["x"], given["weight"], given["bias"], given["adapter_ids"], torch.tensor(3)
    torch.library.opcheck(operation, (*base, *low_rank, path))


def test_autocast_computes_in_its_type_and_keeps_float32_gradients() -> None:
    given = case([0, 1, -1, 1, 0], [3, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = lora_linear_multi(**given)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert {t.grad.dtype for t in leaves(given).values()} == {torch.float32}


def test_a_weight_that_learns_and_a_batch_without_rows() -> None:
    given = case([0, 1, -1, 1, 0], [3, 2], dtype=torch.float64)
    given["weight"].requires_grad_()
    direction = torch.randn(5, 10, dtype=torch.float64)
    lora_linear_multi(**given, dropout_p=0.3, training=True, seed=4).backward(direction)
    torch.testing.assert_close(given["weight"].grad, direction.T @ given["x"].detach())
    wanted = expected(given, direction, [0.3, 0.3], {0.3: dropout_mask(4, given["x"].shape, 0.3)})
    for name, tensor in leaves(given).items():
        assert_close(tensor.grad, wanted[name], torch.float64)
    empty = case([], [3, 2])
    y = lora_linear_multi(**empty)
    y.sum().backward()
    assert y.shape == (0, 10)
    assert all(torch.equal(a.grad, torch.zeros_like(a)) for a in empty["lora_as"])


def test_a_seed_gives_one_mask_and_dropout_acts_only_in_training() -> None:
    given = case([0, 1] * 8, [3, 2], columns=64)

    def run(seed: int | Tensor | None, training: bool = True) -> Tensor:
        return lora_linear_multi(**given, dropout_p=0.5, training=training, seed=seed)

    assert torch.equal(run(4), run(torch.tensor(4)))
    assert not torch.equal(run(4), run(5))
    assert not torch.equal(run(None), run(None))
    assert torch.equal(run(None, training=False), lora_linear_multi(**given))


BAD: dict[str, tuple[Case, type[Exception], str]] = {
    "id too large": ({"adapter_ids": torch.tensor([0, 1, 2, 0])}, ValueError, r"\[-1, 2\), got 2"),
    "id too small": ({"adapter_ids": torch.tensor([0, 1, -2, 0])}, ValueError, r"\[-1, 2\), got -2"),
    "too few ids": ({"adapter_ids": torch.tensor([0, 1])}, ValueError, r"adapter_ids must be \[4\].*got \[2\]"),
    "ids of two dimensions": ({"adapter_ids": torch.zeros(4, 1, dtype=torch.int64)}, ValueError, "adapter_ids"),
    "ids that are no tensor": ({"adapter_ids": [0, 1, 0, 1]}, TypeError, r"adapter_ids must be a tensor, got \[0, 1"),
    "ids that are no int64": ({"adapter_ids": torch.zeros(4)}, TypeError, "adapter_ids must be int64"),
    "a list too short": ({"scalings": [1.0]}, ValueError, "got 2, 2 and 1"),
    "no adapters": ({"lora_as": [], "lora_bs": [], "scalings": []}, ValueError, "got 0, 0 and 0"),
    "an A of other width": ({"lora_as": [torch.zeros(3, 12), torch.zeros(2, 9)]}, ValueError, "adapter 1: lora_a must"),
    "ranks that differ": ({"lora_as": [torch.zeros(3, 12), torch.zeros(4, 12)]}, ValueError, "adapter 1: .* one rank"),
    "a rank of 0": (
        {"lora_as": [torch.zeros(0, 12)] * 2, "lora_bs": [torch.zeros(10, 0)] * 2},
        ValueError,
        "adapter 0",
    ),
    "integers": ({"x": torch.zeros(4, 12, dtype=torch.int64)}, TypeError, "x must hold floating-point"),
    "types that differ": ({"x": torch.zeros(4, 12, dtype=torch.float16)}, TypeError, "one type"),
    "an infinite scaling": ({"scalings": [1.0, float("inf")]}, ValueError, "adapter 1: scaling"),
    "another device": ({"adapter_ids": torch.zeros(4, dtype=torch.int64, device="meta")}, TypeError, "on cpu"),
    "p of another number": ({"dropout_p": [0.1]}, ValueError, "each of 2 adapters, got 1"),
    "p of 1": ({"dropout_p": 1.0}, ValueError, "dropout_p"),
}


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str, learns: bool) -> None:
    change, kind, message = BAD[name]
    given = case([0, 1, -1, 0], [3, 2]) | {"training": True, "seed": 1}
    given["weight"].requires_grad_(learns)
    with pytest.raises(kind, match=message):
        lora_linear_multi(**given | change)


@pytest.mark.filterwarnings("ignore:adapter|rank")
@pytest.mark.parametrize(("columns", "out"), [(0, 7), (10, 0)])
def test_a_layer_without_features_is_fine(columns: int, out: int) -> None:
    given = case([0, 1, -1], [3, 2], columns, out)
    y = lora_linear_multi(**given, dropout_p=0.1, training=True)
    torch.testing.assert_close(y, torch.nn.functional.linear(given["x"], given["weight"], given["bias"]))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_weight_that_learns_compiles_as_one_graph(backend: str) -> None:
    def call(given: Case) -> Tensor:
        return lora_linear_multi(**given, dropout_p=0.3, training=True, seed=5)

    found = []
    for function in (call, torch.compile(call, fullgraph=True, backend=backend)):
        given = case([0, 1, -1, 1], [3, 2])
        given["weight"].requires_grad_()
        y = function(given)
        y.square().sum().backward()
        found.append((y.detach(), given["weight"].grad, given["lora_as"][0].grad))
    torch.testing.assert_close(*found)
