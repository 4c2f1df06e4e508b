"""The benchmark of the LoRA layer: it runs, its peers compute what they should, its targets say what was measured."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import lora_kernels
from benchmarks.lora import peers
from benchmarks.lora.arms import LIMIT, OURS, ours
from benchmarks.lora.cases import COMPILED, LARGE, MAX_AUTOTUNE, SMALL, Case, core_cases, cpu_cases, gpu_cases
from benchmarks.lora.memory import saved_bytes
from benchmarks.lora.numerics import SEED, GivenMask, exact, mask_factors, relative_errors, results_of
from benchmarks.lora.peers import Layer
from benchmarks.lora.problem import SCALING, Problem, make_problem
from benchmarks.lora.report import eager_times
from benchmarks.lora.targets import BOTH, FORWARD, targets
from benchmarks.pages.lora import lora_tables
from tests.kernels.lora.interpreter import interpret

CPU = torch.device("cpu")


def _quick(folder: Path) -> dict[str, Any]:
    assert lora_kernels.main(["--quick", "--output", str(folder)]) == 0
    (path,) = folder.glob("lora_*.json")
    assert path.with_suffix(".svg").stat().st_size > 0
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert result["rows"]
    for row in result["rows"]:
        for name, arm in row["arms"].items():
            timed = all(arm.get(step, {}).get(mode) for step in (FORWARD, BOTH) for mode in row["modes"])
            assert timed != ("skipped" in arm), name
        assert f"minitl, {row['path']}" in row["arms"]
        assert row["checks"]
        assert all(row["checks"].values()), row["checks"]
        assert max(row["errors"]["minitl"].values()) < (1e-2 if row["case"]["dtype"] == "bfloat16" else 1e-5)
    return result


@pytest.mark.slow
def test_a_quick_run_measures_every_arm_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = _quick(tmp_path)
    assert result["command"] == "python -m benchmarks.lora_kernels --quick"  # and no path of this machine
    page = lora_tables(tmp_path)
    assert all((f"| {row['title']} |" in page) == row["case"]["main"] for row in result["rows"])
    assert "On a GPU nothing has been measured yet" in page


def test_eager_times_are_told_of_a_gpu_where_both_were_taken() -> None:
    def arm(seconds: float) -> dict[str, Any]:
        return {"forward and backward": {"eager": {"seconds": {"median": seconds}}}}

    arms = {"minitl": arm(2e-3), "PEFT, bfloat16 adapters": arm(1e-3)}
    row = {"title": "a layer", "case": {"dtype": "bfloat16"}, "arms": arms}
    (told,) = eager_times({"device": "a GPU"}, [row, {**row, "arms": {"minitl": arm(1.0)}}])
    assert told.endswith(": 2.00 against 1.00 ms (a layer)")
    assert eager_times({"device": "cpu"}, [row]) == []


@pytest.mark.gpu
def test_a_quick_run_on_a_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that CUDA can use is at hand")
    assert _quick(tmp_path)["device"] == torch.cuda.get_device_name()


def test_nothing_measured_is_said_to_be_so(tmp_path: Path) -> None:
    assert "On a GPU nothing has been measured yet" in lora_tables(tmp_path)
    assert "On a processor nothing has been measured yet" in lora_tables(tmp_path)


def test_what_the_precisions_reach_is_in_the_table(tmp_path: Path) -> None:
    def side(*accuracies: float) -> dict[str, Any]:
        return {"learning_rate": 1e-3, "runs": [{"accuracy": accuracy} for accuracy in accuracies]}

    row = {"title": "bfloat16 weights", "sides": {"minitl": side(0.8, 0.82), "PEFT": side(0.79, 0.81)}}
    facts = {"labels": 2000, "data": "sst2", "command": "c", "machine": {"cpu": "x"}, "date": "2026-11-27T00:00"}
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "lora-accuracy.json").write_text(json.dumps({"rows": [row], **facts}), encoding="utf-8")
    assert "| bfloat16 weights | 81.0 ± 1.4 | 1e-3 | 80.0 ± 1.4 | 1e-3 |" in lora_tables(tmp_path)


BUILDERS: dict[str, Callable[[Problem], Layer]] = {
    "ours": partial(ours, adapters=torch.float32),
    "torchtune": peers.torchtune_style,
    "unsloth": peers.unsloth_style,
}
LAYOUTS = [
    Case(24, 12, 20, r=3, p=0.0, dtype="float32", bias=True, layout="sliced"),
    Case(128, 20, 12, r=5, p=0.0, dtype="float32", layout="3-D"),
]


def _error(layer: Layer, problem: Problem, factors: Tensor | None = None) -> float:
    wanted = exact(problem, mask_factors(problem) if factors is None else factors)
    found = results_of(layer, problem)
    assert found.keys() == wanted.keys()
    return max(relative_errors(found, wanted).values())


@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case.layout)
@pytest.mark.parametrize("name", BUILDERS)
def test_ours_and_the_peers_written_here_compute_the_formulas(name: str, case: Case) -> None:
    problem = make_problem(case, CPU)
    assert _error(BUILDERS[name](problem), problem) < 1e-6


@pytest.mark.reference
@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case.layout)
def test_peft_computes_the_formulas_with_the_same_mask(case: Case, p: float) -> None:
    problem = make_problem(Case(case.tokens, case.inn, case.out, case.r, p, "float32", case.bias, case.layout), CPU)
    factors = mask_factors(problem, SEED)
    assert _error(peers.peft(problem, True, GivenMask(factors) if p else torch.nn.Identity()), problem) < 1e-6


def _lorafusion(problem: Problem) -> tuple[dict[str, Tensor], Tensor]:
    """What the LoRAFusion-style layer gives, and its dropout as factors; for the interpreter's process."""
    from benchmarks.lora import lorafusion

    lorafusion._product.configs = lorafusion._product.configs[-1:]  # one, and there is nothing to tune
    a, b = problem.adapters(problem.dtype)
    masks = []

    def note(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool:
            masks.append(tensor)
        return tensor

    p = problem.case.p
    layer = Layer(lambda x: lorafusion.lorafusion_linear(x, problem.weight, problem.bias, a, b, SCALING, p), (a, b))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = results_of(layer, problem)
    return found, masks[0] / (1 - p) if masks else torch.ones(problem.xs[0].shape)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("r", "p"), [(16, 0.0), (5, 0.25), (24, 0.25)])
def test_the_lorafusion_style_kernels_compute_the_formulas(r: int, p: float, dtype: str) -> None:
    problem = make_problem(Case(70, 96, 50, r=r, p=p, dtype=dtype, bias=True), CPU, buffers=1)
    found, factors = interpret(_lorafusion, problem)
    assert (factors != 0).double().mean().item() == pytest.approx(1 - p, abs=0.02)
    errors = relative_errors(found, exact(problem, factors.double()))
    assert max(errors.values()) < (1e-6 if dtype == "float32" else 1e-3)


def test_saved_memory_counts_x_apart_and_parameters_never() -> None:
    problem = make_problem(Case(8, 16, 24, r=4, p=0.0, dtype="float32"), CPU)
    x_bytes = 8 * 16 * 4
    assert saved_bytes(peers.frozen_linear(problem), problem) == {"x": 0, "extra": 0}
    assert saved_bytes(peers.unsloth_style(problem), problem) == {"x": x_bytes, "extra": 0}
    low = 8 * 4 * 4
    assert saved_bytes(peers.torchtune_style(problem), problem) == {"x": x_bytes, "extra": low}
    twice = Layer(lambda x: (x.exp() * x).sum(), ())
    assert saved_bytes(twice, problem) == {"x": x_bytes, "extra": x_bytes}


@pytest.mark.parametrize("cases", [gpu_cases(), cpu_cases()], ids=["gpu", "cpu"])
def test_no_case_is_measured_twice(cases: list[Case]) -> None:
    assert len({case.title for case in cases}) == len(cases)


def test_the_gpu_cases_vary_what_the_protocol_names() -> None:
    cases = gpu_cases()
    assert {case.r for case in cases} == {1, 4, 8, 16, 24, 64}
    assert {case.p for case in cases} == {0.0, 0.1}
    assert {case.dtype for case in cases} == {"bfloat16", "float16"}
    assert {case.layout for case in cases} == {"2-D", "3-D", "sliced"}
    assert {1, 64, 512, 8192, 16384} == {case.tokens for case in cases}
    assert {1000, 3424} < {case.inn for case in cases}
    assert any(case.bias for case in cases)


def test_what_the_targets_are_about_comes_first_and_can_be_had_alone() -> None:
    wanted = [SMALL.title, LARGE.title]
    assert [case.title for case in gpu_cases()][:2] == wanted
    assert [case.title for case in core_cases()][:2] == wanted
    assert not any(case.extras & {COMPILED, MAX_AUTOTUNE} for case in core_cases())


def test_the_core_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        lora_kernels.main(["--core"])
    assert "--core is for a GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_results_are_named_after_the_gpu(device: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: device)
    assert lora_kernels.short_name(torch.device("cuda", 0)) == name


def _row(case: Case, times: Mapping[str, float], kinds: Mapping[str, str], over: float = 5.0) -> dict[str, Any]:
    def timing(ratio: float) -> dict[str, Any]:
        return {"graph": {"times_ours": {"median": ratio}, "over_limit_percent": over}}

    arms: dict[str, Any] = {
        name: {"kind": kinds[name], FORWARD: timing(ratio), BOTH: timing(ratio)} for name, ratio in times.items()
    }
    arms[OURS] |= {"saved_extra_bytes": 100}
    errors = {"minitl": {"y": 1.2e-3}, "PEFT": {"y": 1e-3}}
    return {
        "title": case.title,
        "case": {"dtype": case.dtype},
        "path": "expand + product",
        "modes": ["graph"],
        "arms": arms,
        "allowed_extra_bytes": 100,
        "errors": errors,
        "checks": {"two runs are equal": True},
    }


def _held(rows: list[dict[str, Any]], **result: Any) -> dict[str, bool | None]:
    found = targets({"device": "NVIDIA H200", "rows": rows} | result)
    return {target["target"]: target["holds"] for target in found}


def _which(held: Mapping[str, bool | None], part: str) -> bool | None:
    (found,) = [value for name, value in held.items() if part in name]
    return found


PEFT, PLAIN = "PEFT, bfloat16 adapters", "minitl, plain"
KINDS = {LIMIT: "limit", OURS: "ours", PEFT: "peer", PLAIN: "forced"}


def test_targets_hold_where_the_figures_do() -> None:
    times = {LIMIT: 0.9, OURS: 1.0, PEFT: 2.1, PLAIN: 1.0}
    held = _held([_row(SMALL, times, KINDS), _row(LARGE, times, KINDS)])
    unsaid = {name for name, holds in held.items() if holds is None}
    assert unsaid == {name for name in held if name.startswith("Triton's products")}
    assert all(holds for name, holds in held.items() if name not in unsaid)


def test_targets_are_missed_where_the_figures_miss_them() -> None:
    small = _row(SMALL, {LIMIT: 0.9, OURS: 1.0, PEFT: 1.9, PLAIN: 0.96}, KINDS)
    large = _row(LARGE, {LIMIT: 0.9, OURS: 1.0, PEFT: 0.96, PLAIN: 1.0}, KINDS, over=10.5)
    large["arms"][OURS]["saved_extra_bytes"] = 101
    large["errors"]["minitl"]["y"] = 1.6e-3
    large["checks"] = {"two runs are equal": False}
    held = _held([small, large])
    assert [holds for name, holds in held.items() if not name.startswith("Triton's products")] == [False] * (
        len(held) - 1
    )


def test_the_path_taken_is_not_compared_with_itself() -> None:
    row = _row(
        SMALL, {LIMIT: 0.9, OURS: 1.0, "minitl, expand + product": 0.9}, KINDS | {"minitl, expand + product": "forced"}
    )
    assert _which(_held([row]), "no forced path") is None


def test_three_percent_is_noise() -> None:
    times = {LIMIT: 0.9, OURS: 1.0, PEFT: 0.98, PLAIN: 0.98}
    held = _held([_row(SMALL, times, KINDS)])
    assert _which(held, "no peer is faster")
    assert _which(held, "no forced path")


def test_what_was_not_measured_neither_holds_nor_is_missed() -> None:
    assert set(_held([]).values()) == {None}
    assert set(_held([], device="cpu", steps=[], amx=True).values()) == {None}


@pytest.mark.parametrize(("amx", "times", "holds"), [(True, 6.1, True), (True, 5.9, False), (False, 5.9, None)])
def test_the_half_precision_step_is_judged_where_there_is_amx(amx: bool, times: float, holds: bool | None) -> None:
    steps = [{"precision": "bfloat16-base", "ratios": {"PEFT": {"median": times}}}]
    assert _which(_held([], device="cpu", steps=steps, amx=amx), "bfloat16-base") is holds
