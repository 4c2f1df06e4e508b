"""Measured plans: every candidate runs, the fastest is taken, and the table comes back as it was written."""

import json
from pathlib import Path

import pytest
import torch
import triton
from minitl_kernels.lora import tuned, tuning
from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, Problem
from minitl_kernels.lora.triton_parts import SumsConfig
from minitl_kernels.lora.triton_shrink import ShrinkConfig
from minitl_kernels.lora.triton_tiles import ProductConfig
from minitl_kernels.lora.tuned import read_table, write_table

from tests.kernels.lora.interpreter import interpret

PROBLEM = Problem(512, 768, 3072, 16, "bfloat16", True)
PLAN = Plan("cublas", "product", {"shrink": ShrinkConfig(64, 128, 1, 8, 3), "grad_a": SumsConfig(128, 64, 2, 4, 3)})


def run_every_candidate(dropout: bool) -> tuple[Problem, Plan, int]:
    """Measure with a clock for which each candidate is faster than the one before it; the count of what was timed."""
    count = 0

    def clock(function):  # type: ignore[no-untyped-def]
        nonlocal count
        function()
        count += 1
        return 1.0 / count

    tuning._milliseconds = clock
    return *tuning.measure(24, 40, 24, 3, torch.float32, dropout, torch.device("cpu")), count


def cuts_of_the_product(out: int) -> list[ProductConfig]:
    case = tuning.Case(8, 64, out, 3, torch.float16, 0, torch.device("cpu"))
    return list(case.launches["expand"][1])


@pytest.mark.parametrize("out", [40, 33])
def test_descriptors_are_tried_where_the_output_can_be_described(out: int) -> None:
    assert any(config.tma for config in interpret(cuts_of_the_product, out)) == (out % 8 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [False, True])
def test_every_candidate_runs_and_the_fastest_is_taken(dropout: bool) -> None:
    problem, plan, count = interpret(run_every_candidate, dropout)
    assert problem == Problem(32, 40, 24, 16, "float32", dropout)
    assert plan.forward == FORWARDS[-1]
    assert plan.grad_x == GRAD_XS[-1]
    expected = {"shrink", "expand", "gradients", "grad_x", "low_rank", "grad_a", *([] if dropout else ["single"])}
    assert set(plan.configs) == expected
    assert count > len(expected)


def test_tables_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.json"
    assert read_table(path) == {}
    write_table(path, {PROBLEM: PLAN})
    assert read_table(path) == {PROBLEM: PLAN}
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


def test_a_plan_that_was_written_is_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setenv("MINITL_KERNELS_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200 (80 GB)")
    monkeypatch.setattr(tuned, "table_path_of", tuned.table_path_of.__wrapped__)  # which remembers no folder
    path = tuned.table_path(gpu)
    assert path.name == f"lora-nvidia-h200-80-gb-torch{torch.__version__}-triton{triton.__version__}.json"
    assert tuned.tuned_plan(PROBLEM, gpu) is None
    write_table(path, {PROBLEM: PLAN})
    assert tuned.tuned_plan(PROBLEM, gpu) == PLAN
    write_table(path, {})
    assert tuned.tuned_plan(PROBLEM, gpu) is None


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[3]",
        json.dumps([{"problem": [1], "forward": "single", "grad_x": "product", "configs": {}}]),
        json.dumps([{"problem": list(PROBLEM), "forward": "fast", "grad_x": "product", "configs": {}}]),
        json.dumps([{"problem": list(PROBLEM), "forward": "single", "grad_x": "product", "configs": {"shrink": {}}}]),
        json.dumps([{"problem": list(PROBLEM), "forward": "single", "grad_x": "product", "configs": {"new": {}}}]),
    ],
)
def test_what_is_no_table_is_passed_over_with_a_warning(content: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.warns(UserWarning, match="table.json: not a table of plans"):
        assert read_table(path) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_without_a_gpu_there_is_nothing_to_measure() -> None:
    with pytest.raises(RuntimeError, match="measures on a GPU"):
        tuning.tune(512, 768, 768, 16)


def test_what_was_in_use_is_used_again_though_the_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a training that was interrupted, and goes on after somebody measured anew."""
    path, device = tmp_path / "table.json", torch.device("cpu")
    monkeypatch.setattr(tuned, "table_path_of", lambda _: path)
    monkeypatch.setattr(tuned, "_REPLAYED", {})
    write_table(path, {PROBLEM: PLAN})
    kept = json.loads(json.dumps(tuned.entries_in_use(device)))
    other = Plan("cublas", "product", {"shrink": ShrinkConfig(32, 64, 1, 4, 2)})
    write_table(path, {PROBLEM: other})
    assert tuned.tuned_plan(PROBLEM, device) == other
    tuned.replay(kept, device)
    assert tuned.tuned_plan(PROBLEM, device) == PLAN
    assert tuned.entries_in_use(device) == kept
    tuned.replay([], device)  # by the rule, where nothing had been measured
    assert tuned.tuned_plan(PROBLEM, device) is None
