"""What only a GPU can show: `pytest -m gpu`. Each test skips with a reason where there is none."""

from typing import Any

import pytest
import torch
from minitl_kernels import dropout_mask, force_path, lora_linear
from minitl_kernels.lora.mask import threshold_of
from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, force_plan
from minitl_kernels.lora.tuned import read_table, table_path, tuned_plan
from minitl_kernels.lora.tuning import Case, tune
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.kernels.lora.reference import assert_close, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that CUDA can use is at hand"),
]

halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def inputs(rows: int, columns: int, out: int, r: int, dtype: torch.dtype) -> dict[str, Any]:
    torch.manual_seed(rows + columns + out + r)

    def draw(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.float32).to(dtype)

    return {
        "x": draw(rows, columns).requires_grad_(),
        "weight": draw(out, columns),
        "bias": draw(out).requires_grad_(),
        "lora_a": draw(r, columns, dtype=torch.float32).requires_grad_(),
        "lora_b": draw(out, r, dtype=torch.float32).requires_grad_(),
    }


@halves
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize("plan", [None, *(Plan(f, g) for f in FORWARDS for g in GRAD_XS)], ids=str)
@pytest.mark.parametrize("shape", [(4096, 768, 768), (1000, 1000, 3424), (333, 3424, 1000)])
def test_real_sizes_by_every_plan(shape: tuple[int, int, int], plan: Plan | None, p: float, dtype: torch.dtype) -> None:
    given = inputs(*shape, 16, dtype)
    with force_plan(plan):
        y = lora_linear(**given, scaling=0.5, dropout_p=p, training=True, seed=9)
        direction = torch.randn_like(y)
        y.backward(direction)
    mask = dropout_mask(9, given["x"].shape, p, "cuda") if p else None
    exact = reference(**given, scaling=0.5, direction=direction, mask=mask, p=p)
    assert_close(y, exact["y"], dtype)
    for name in ("x", "lora_a", "lora_b", "bias"):
        assert_close(given[name].grad, exact[name], dtype)


@halves
def test_plain_pytorch_has_the_same_mask(dtype: torch.dtype) -> None:
    given = inputs(512, 768, 768, 16, dtype)
    fused = lora_linear(**given, scaling=0.5, dropout_p=0.3, training=True, seed=9)
    with force_path("plain"):
        plain = lora_linear(**given, scaling=0.5, dropout_p=0.3, training=True, seed=9)
    torch.testing.assert_close(fused, plain, rtol=0.02, atol=0.5)


def test_a_graph_draws_a_fresh_mask_at_each_replay_and_replays_a_given_seed() -> None:
    given = inputs(256, 768, 768, 16, torch.bfloat16)
    seed = torch.tensor(1, device="cuda")

    def capture(seed: Tensor | None) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        def run() -> Tensor:
            return lora_linear(**given, scaling=0.5, dropout_p=0.5, training=True, seed=seed)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), torch.no_grad():
            y = run()
        return graph, y

    def replay(graph: torch.cuda.CUDAGraph, y: Tensor) -> Tensor:
        graph.replay()
        torch.cuda.synchronize()
        return y.clone()

    drawn = capture(None)
    assert not torch.equal(replay(*drawn), replay(*drawn))
    fixed = capture(seed)
    first = replay(*fixed)
    assert torch.equal(first, replay(*fixed))
    seed.fill_(2)
    assert not torch.equal(first, replay(*fixed))


@pytest.mark.parametrize("path", ["cuda", "plain"])
@pytest.mark.parametrize("kind", ["number", "tensor"])
def test_forward_and_backward_are_captured(kind: str, path: str) -> None:
    given = inputs(256, 768, 768, 16, torch.bfloat16)
    seed = 5 if kind == "number" else torch.tensor(5, device="cuda")

    def step() -> list[Tensor]:
        y = lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True, seed=seed)
        return list(torch.autograd.grad(y, [given["x"], given["lora_a"], given["lora_b"]], torch.ones_like(y)))

    with force_path(path):
        expected = step()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


@pytest.mark.parametrize("seed", [None, 5])
def test_nothing_waits_for_the_device(seed: int | None) -> None:
    given = inputs(256, 768, 768, 16, torch.bfloat16)
    lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True, seed=seed).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True, seed=seed).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_no_more_memory_than_the_outputs_and_what_is_saved() -> None:
    rows, size, r = 8192, 4096, 16
    given = inputs(rows, size, size, r, torch.bfloat16)
    lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True)
    torch.cuda.synchronize()
    kept = torch.cuda.memory_allocated() - before
    assert y.nbytes <= kept <= y.nbytes + rows * r * 2 + rows * size // 8 + (1 << 20)
    assert torch.cuda.max_memory_allocated() - before <= kept + (1 << 22)  # workspaces


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_sees_the_same_mask(reentrant: bool) -> None:
    plain, again = (inputs(256, 768, 768, 16, torch.bfloat16) for _ in range(2))
    torch.manual_seed(3)
    lora_linear(**plain, scaling=0.5, dropout_p=0.5, training=True).float().square().sum().backward()
    torch.manual_seed(3)
    y = checkpoint(
        lambda x: lora_linear(**{**again, "x": x}, scaling=0.5, dropout_p=0.5, training=True),
        again["x"],
        use_reentrant=reentrant,
    )
    y.float().square().sum().backward()
    assert torch.equal(plain["lora_a"].grad, again["lora_a"].grad)


def test_it_compiles_as_one_graph() -> None:
    plain, compiled = (inputs(256, 768, 768, 16, torch.bfloat16) for _ in range(2))
    seed = torch.tensor(8, device="cuda")

    def run(x: Tensor, weight: Tensor, bias: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        y = lora_linear(torch.relu(x), weight, bias, lora_a, lora_b, 0.5, 0.3, True, seed)
        return y.float().square().mean()

    run(**plain).backward()
    torch.compile(run, fullgraph=True)(**compiled).backward()
    for name in ("x", "lora_a", "lora_b", "bias"):
        torch.testing.assert_close(compiled[name].grad, plain[name].grad, rtol=0.02, atol=1e-3)


def test_autocast_over_float32_weights() -> None:
    given = inputs(256, 768, 768, 16, torch.float32)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y = lora_linear(**given, scaling=0.5)
    assert y.dtype == torch.bfloat16
    direction = torch.randn_like(y)
    y.backward(direction)
    exact = reference(**given, scaling=0.5, direction=direction)
    assert_close(y, exact["y"], torch.bfloat16)
    assert given["x"].grad.dtype == torch.float32


def test_a_measured_plan_is_kept_and_taken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINITL_KERNELS_CACHE", str(tmp_path))
    device = torch.device("cuda", torch.cuda.current_device())
    problem, plan = tune(512, 768, 768, 16, torch.bfloat16, dropout=True)
    assert read_table(table_path(device))[problem] == plan
    assert tuned_plan(problem, device) == plan
    given = inputs(512, 768, 768, 16, torch.bfloat16)
    y = lora_linear(**given, scaling=0.5, dropout_p=0.1, training=True, seed=1)
    mask = dropout_mask(1, given["x"].shape, 0.1, "cuda")
    exact = reference(**given, scaling=0.5, direction=torch.ones_like(y), mask=mask, p=0.1)
    assert_close(y, exact["y"], torch.bfloat16)


CUTS = [(kernel, p) for kernel in ("shrink", "expand", "gradients", "grad_x", "grad_a") for p in (0.0, 0.1)]


@pytest.mark.parametrize(("kernel", "p"), [*CUTS, ("single", 0.0)])
def test_every_cut_that_is_timed_computes_the_same(kernel: str, p: float) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    launch, cuts = Case(1000, 768, 1032, 16, torch.bfloat16, threshold_of(p), device).launches[kernel]
    first, *others = ((cut, _tensors(launch(cut))) for cut in cuts)
    for cut, found in others:
        for one, other in zip(found, first[1], strict=True):
            largest = other.abs().max().item() if other.numel() else 0.0
            error = (one.double() - other.double()).abs().max().item() if other.numel() else 0.0
            assert error <= (0.02 * largest if other.is_floating_point() else 0.0), cut


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [one for one in result if one is not None]
