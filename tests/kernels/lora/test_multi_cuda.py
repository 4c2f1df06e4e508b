"""The Triton path of several adapters: in the interpreter on any machine, on a GPU with `pytest -m gpu`."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minitl_kernels import force_path, lora_linear, lora_linear_multi
from minitl_kernels.lora import multi_cuda
from minitl_kernels.lora.adapters import Adapters
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.mask import threshold_of
from minitl_kernels.lora.philox import pack_bits, philox_keep
from minitl_kernels.lora.triton_multi_routing import Routes, numbers, route, unit_count
from torch import Tensor

from tests.kernels.lora.conftest import Place
from tests.kernels.lora.interpreter import interpret
from tests.kernels.lora.mixed import Case, case, expected, leaves
from tests.kernels.lora.reference import assert_close

gpu = pytest.mark.gpu
SEED = 11


def forward_and_backward(
    arguments: Case, ps: list[float], direction: Tensor, needs: Needs, one: bool | None = None
) -> list[Tensor | None]:
    """y, S, bits, and the gradients of x, b, each A, each B, by the path; `one` chooses for or against `product`."""
    with patch.object(multi_cuda, "pays", multi_cuda.pays if one is None else lambda *_: one):
        return _forward_and_backward(arguments, ps, direction, needs)


def _forward_and_backward(arguments: Case, ps: list[float], direction: Tensor, needs: Needs) -> list[Tensor | None]:
    x, weight, bias = (t if t is None else t.detach() for t in (arguments[n] for n in ("x", "weight", "bias")))
    low_rank = ([t.detach() for t in arguments[kind]] for kind in ("lora_as", "lora_bs"))
    adapters = Adapters(*low_rank, arguments["scalings"], [threshold_of(p) for p in ps])
    ids, seed = arguments["adapter_ids"], torch.tensor(SEED, device=x.device)
    y, saved = multi_cuda.forward(x, weight, bias, adapters, ids, seed)
    shapes = multi_cuda.saved_shapes(*x.shape, adapters)
    assert [(tuple(t.shape), t.dtype) for t in saved] == [(shape, dtype or x.dtype) for shape, dtype in shapes]
    grad_x, grad_a, grad_b, grad_bias = multi_cuda.backward(direction, x, weight, adapters, ids, saved, seed, needs)
    split = [[None] * len(ps) if g is None else list(g.split(adapters.ranks)) for g in (grad_a, grad_b)]
    return [y, *saved[:2], grad_x, grad_bias, *split[0], *(g if g is None else g.t() for g in split[1])]


def check(place: Place, arguments: Case, ps: list[float], one: bool) -> None:
    """Every result against the formulas in float64."""
    x, ids = arguments["x"], arguments["adapter_ids"]
    direction = torch.randn(len(x), len(arguments["weight"]), generator=torch.Generator().manual_seed(1)).to(x)
    needs = Needs(True, True, True, arguments["bias"] is not None)
    y, _, bits, *grads = place.run(forward_and_backward, detached(arguments), ps, direction, needs, one)
    key = torch.tensor(SEED, device=x.device)
    masks = {p: philox_keep(key, *x.shape, threshold_of(p)) for p in ps if p}
    wanted = expected(arguments, direction, ps, masks)
    assert_close(y, wanted["y"], place.dtype)
    names = [name for name in ("x", "bias") if arguments[name] is not None]
    names += [name for name in leaves(arguments) if name not in names]
    for name, grad in zip(names, (g for g in grads if g is not None), strict=True):
        assert_close(grad, wanted[name], place.dtype)
    full = x.shape[1] // 8  # the bits of a last, partial byte mean nothing
    for i, p in enumerate(ps):
        if p:
            assert torch.equal(bits[ids == i, :full], pack_bits(masks[p])[ids == i, :full])


def detached(arguments: Case) -> Case:
    """The arguments without gradients, which cannot be sent to another process."""
    lists = {kind: [t.detach() for t in arguments[kind]] for kind in ("lora_as", "lora_bs")}
    single = {name: arguments[name] if arguments[name] is None else arguments[name].detach() for name in ("x", "bias")}
    return arguments | lists | single


def on(place: Place, ids: list[int], ranks: list[int], columns: int, out: int, bias: bool = True) -> Case:
    return case(ids, ranks, columns, out, place.dtype, bias=bias, device=place.device)


MIXED = [0, 2, 1, -1, 2, 2, 0, -1, 2, 0, 1, 2]
CORE = {
    "one row": ([0], [4], 8, 8, [0.0]),
    "ragged": (MIXED, [3, 17, 8], 40, 24, [0.0, 0.0, 0.0]),
    "each its own dropout": (MIXED * 3, [16, 2, 5], 35, 17, [0.0, 0.5, 0.9]),
    "no rows for one": ([0, 2, 2, -1, 0], [4, 4, 64], 24, 16, [0.1, 0.1, 0.1]),
}
REST = {
    "one row of the base": ([-1], [4], 8, 8, [0.5]),
    "ragged with dropout": (MIXED, [1, 20, 8], 44, 33, [0.3, 0.3, 0.3]),
    "all rows one": ([1] * 70, [2, 3], 9, 7, [0.25, 0.25]),
    "the base alone": ([-1] * 5, [2, 3], 9, 7, [0.25, 0.25]),
    "more than a unit": ([0, 1, 0, -1, 0] * 60, [5, 8], 24, 20, [0.2, 0.2]),
    "one column": (MIXED, [1, 2, 3], 1, 1, [0.2, 0.2, 0.2]),
    "no bias": (MIXED, [1, 2, 3], 30, 31, [0.2, 0.2, 0.2]),
}


in_one_kernel_or_two = pytest.mark.parametrize("one", [True, False], ids=["one kernel", "two"])


@in_one_kernel_or_two
@pytest.mark.parametrize("name", [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_outputs_and_gradients_are_those_of_the_formulas(place: Place, name: str, one: bool) -> None:
    ids, ranks, columns, out, ps = (CORE | REST)[name]
    check(place, on(place, ids, ranks, columns, out, bias=name != "no bias"), ps, one)


@pytest.mark.slow
@in_one_kernel_or_two
@pytest.mark.parametrize("ranks", [[256, 1], [64, 16], [33, 32]])
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(1, 72, 40), (130, 65, 129), (300, 200, 136), (257, 8, 264)])
def test_a_grid_of_shapes_and_ranks(
    place: Place, shape: tuple[int, int, int], p: float, ranks: list[int], one: bool
) -> None:
    m, columns, out = shape
    ids = torch.randint(-1, 2, (m,), generator=torch.Generator().manual_seed(m)).tolist()
    check(place, on(place, ids, ranks, columns, out), [p, p], one)


@pytest.mark.parametrize("layout", ["transposed", "every other row"])
def test_any_strides_of_x_and_of_the_gradient(place: Place, layout: str) -> None:
    arguments = on(place, MIXED, [3, 17, 8], 40, 24)
    x = arguments["x"].detach()
    strided = x.t().contiguous().t() if layout == "transposed" else x.repeat_interleave(2, dim=0)[::2]
    direction = torch.ones(24, len(MIXED), dtype=place.dtype, device=place.device).t()
    everything = Needs(True, True, True, True)
    first, second = (
        place.run(forward_and_backward, detached(arguments | {"x": given_x}), [0.3] * 3, grad, everything)
        for given_x, grad in ((x, direction.contiguous()), (strided, direction))
    )
    known = arguments["adapter_ids"] >= 0
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        # S and the bits of rows of the base are whatever was in memory.
        torch.testing.assert_close(one[known] if i in (1, 2) else one, other[known] if i in (1, 2) else other)


@pytest.mark.parametrize("wanted", range(4))
def test_what_is_not_needed_is_not_computed(place: Place, wanted: int) -> None:
    arguments = on(place, MIXED, [3, 17, 8], 40, 24)
    direction = torch.ones(len(MIXED), 24, dtype=place.dtype, device=place.device)
    needs = Needs(*(i == wanted for i in range(4)))
    _, _, _, grad_x, grad_bias, *rest = place.run(
        forward_and_backward, detached(arguments), [0.3] * 3, direction, needs
    )
    found = [grad_x is not None, rest[0] is not None, rest[3] is not None, grad_bias is not None]
    assert found == [i == wanted for i in range(4)]


@given(data=st.data())
@settings(max_examples=15)
def test_the_routes_hold_every_row_once(data: st.DataObject) -> None:
    count, unit = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([1, 2, 16]))
    ids = torch.tensor(data.draw(st.lists(st.integers(-2, count + 1), min_size=1, max_size=40)))  # some are no ids
    routes: Routes = interpret(route, ids, count, unit)
    rows, first = routes.rows.view(-1, unit), routes.first.tolist()
    assert first[0] == 0
    assert first[-1] <= len(rows) == unit_count(len(ids), count, unit)
    groups = torch.where((ids >= 0) & (ids < count), ids, count)
    for group in range(count + 1):
        own = rows[first[group] : first[group + 1]].flatten()
        mine = (groups == group).nonzero().flatten()
        assert own[own < len(ids)].tolist() == mine.tolist()  # in their order
        assert (own[len(mine) :] == len(ids)).all()
        assert first[group + 1] - first[group] == -(-len(mine) // unit)
        assert (routes.owner[first[group] : first[group + 1]] == group).all()
    assert (routes.owner[first[-1] :] == -1).all()


def test_a_long_batch_is_routed_in_several_steps() -> None:
    ids = torch.randint(-1, 3, (2500,))
    routes: Routes = interpret(route, ids, 3, 128)
    rows = routes.rows[: int(routes.first[-1]) * 128]
    assert torch.equal(rows[rows < 2500].sort().values, torch.arange(2500, dtype=torch.int32))
    assert torch.equal(rows[rows < 2500], torch.where(ids < 0, 3, ids).argsort(stable=True).int())


def test_the_table_of_numbers_is_exact() -> None:
    adapters = Adapters([torch.zeros(r, 2) for r in (3, 200, 1)], [], [0.1, -2.0, 1e-3], [0, 65535, 6554])
    wanted = [[0, 3, 0.1, 0], [3, 200, -2.0, 65535], [203, 1, 1e-3, 6554], [0, 0, 0, 0]]
    assert torch.equal(numbers(adapters, torch.device("cpu")), torch.tensor(wanted))


def run(arguments: Case, p: float, seed: int | Tensor = SEED) -> list[Tensor]:
    """y and every gradient by the operator."""
    for tensor in leaves(arguments).values():
        tensor.grad = None
    y = lora_linear_multi(**arguments, dropout_p=p, training=True, seed=seed)
    y.backward(torch.ones_like(y))
    return [y.detach(), *(t.grad for t in leaves(arguments).values() if t.grad is not None)]


@pytest.fixture
def on_gpu() -> Case:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that CUDA can use is at hand")
    return case(MIXED * 50, [3, 17, 8], 64, 96, torch.bfloat16, device="cuda")


@gpu
def test_rows_of_an_adapter_get_the_mask_that_lora_linear_draws(on_gpu: Case) -> None:
    y = run(on_gpu, 0.3)[0]
    for i in range(3):
        rows = on_gpu["adapter_ids"] == i
        base = on_gpu["x"], on_gpu["weight"], on_gpu["bias"]
        low_rank = on_gpu["lora_as"][i], on_gpu["lora_bs"][i], on_gpu["scalings"][i]
        alone = lora_linear(*base, *low_rank, 0.3, training=True, seed=SEED)
        torch.testing.assert_close(y[rows], alone[rows], atol=0.1, rtol=0.02)


@gpu
def test_the_paths_agree_and_runs_repeat_bit_for_bit(on_gpu: Case) -> None:
    first, second = run(on_gpu, 0.3), run(on_gpu, 0.3)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    with force_path("plain"):
        plain = run(on_gpu, 0.3)
    for one, other in zip(first, plain, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=0.03, atol=0.03 * other.float().abs().max().item())


@gpu
def test_the_host_never_waits(on_gpu: Case) -> None:
    run(on_gpu, 0.3, seed := torch.tensor(SEED, device="cuda"))  # compiles the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(on_gpu, 0.3, seed)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
def test_a_cuda_graph_replays_with_other_ids_and_another_seed(on_gpu: Case) -> None:
    seed = torch.tensor(SEED, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run(on_gpu, 0.3, seed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(on_gpu, 0.3, seed)
    on_gpu["adapter_ids"].copy_(on_gpu["adapter_ids"].roll(7))
    seed.fill_(5)
    graph.replay()
    replayed = [t.clone() for t in captured]
    for one, other in zip(replayed, run(on_gpu, 0.3, seed), strict=True):
        assert torch.equal(one, other)


@gpu
def test_torch_compile_sees_one_graph(on_gpu: Case) -> None:
    seed = torch.tensor(SEED, device="cuda")

    def call(x: Tensor) -> Tensor:
        return lora_linear_multi(**on_gpu | {"x": x}, dropout_p=0.3, training=True, seed=seed)

    y = torch.compile(call, fullgraph=True)(on_gpu["x"])
    y.backward(torch.ones_like(y))
    compiled = [y.detach(), *(t.grad for t in leaves(on_gpu).values())]
    for one, other in zip(compiled, run(on_gpu, 0.3, seed), strict=True):
        torch.testing.assert_close(one, other)
