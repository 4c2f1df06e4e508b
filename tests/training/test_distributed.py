"""Several processes take the steps of one: DDP and FSDP2 on two and four, over gloo."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from minitl import load_model, new_model
from minitl.errors import InputError
from minitl.nn.output import Output
from minitl.tasks.task import TrainingBatch
from minitl.training.distributed import Several, started
from minitl.training.evaluation import dealt

PROGRAM = Path(__file__).parent / "programs" / "several.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Process(Several):
    """A process that has nobody to talk to."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


@given(st.lists(st.integers(), min_size=1, max_size=20, unique=True), st.integers(1, 8))
def test_no_example_of_a_batch_is_lost_or_doubled(batch: list[int], world: int) -> None:
    shares = [Process(rank, world).share(batch) for rank in range(world)]
    assert Counter(i for indices, weight in shares for i in indices if weight) == Counter(batch)
    assert all(indices for indices, _ in shares)  # all take part


@given(st.integers(1, 20), st.integers(1, 8))
def test_no_batch_of_an_evaluation_is_lost_or_doubled_and_all_run_as_many(count: int, world: int) -> None:
    batches = [[i] for i in range(count)]
    runs = [list(dealt(batches, Process(rank, world))) for rank in range(world)]
    assert len({len(run) for run in runs}) == 1
    assert Counter(batch[0] for run in runs for batch, weight in run if weight) == Counter(range(count))


def test_processes_without_torchrun_and_torchrun_without_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs processes: torchrun"), started("ddp", "cpu"):
        pass
    with pytest.raises(InputError, match="device 'cuda:99': torch sees"), started("none", "cuda:99"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="started 2 processes: say how"), started("none", "cpu"):
        pass


def test_fsdp_says_what_it_is_not_for() -> None:
    from minitl.training.distributed import FullyShared
    from minitl.training.feeds import FeatureFeed, Feed

    class Writing:
        writes = True

        def describe(self) -> dict[str, str]:
            return {"task": "grpo"}

    engine = object.__new__(FullyShared)
    for kind, says in ((FeatureFeed, "ddp is for that"), (Feed, "grpo lets the model write")):
        feed = object.__new__(kind)
        feed.task = Writing()  # type: ignore[assignment]
        with pytest.raises(InputError, match=says):
            engine.connect(None, feed)  # type: ignore[arg-type]


def test_weights_that_are_stored_transposed_are_shared_out_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = {"vocab_size": 40, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    model = new_model({"model_type": "gpt2", **shape}, "causal-lm")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert not all(parameter.is_contiguous() for parameter in model.parameters())
    read = {"input_ids": torch.tensor([[1, 2, 3]])}
    said = model(**read).logits.detach()
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with started("fsdp", "cpu") as (engine, _):
        engine.place(model)
        torch.testing.assert_close(model(**read).logits.detach(), said)
        engine.collect(model)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("task", ["token-classification", "backbone", "sequence-classification"])
def test_a_pooler_that_nobody_reads_does_not_hold_the_others_up(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    model = load_model(tiny, task, **({"labels": ["a", "b"]} if task != "backbone" else {}))
    read = {"input_ids": torch.tensor([[1, 2, 3]])}

    class Reading:
        def __call__(self, indices: Sequence[int]) -> tuple[Output, TrainingBatch]:  # noqa: ARG002
            return model(**read), TrainingBatch(read, {})

        @property
        def task(self) -> "Reading":
            return self

        def loss_of_share(self, output: Output, *_: Any) -> tuple[torch.Tensor, int]:
            return (output.last_hidden_state if output.logits is None else output.logits).std(), 1

    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with started("ddp", "cpu") as (engine, _):
        fed = engine.connect(model, Reading())  # type: ignore[arg-type]
        for _ in range(2):  # the second begins once all gradients of the first are there
            loss, *_ = fed([0], 1.0)
            loss.backward()  # type: ignore[no-untyped-call]
    without = {name for name, p in model.named_parameters() if p.grad is None}
    spare = {"pooler.dense.weight", "pooler.dense.bias"}
    assert without == (set() if task == "sequence-classification" else spare)


def run(tiny: Path, folder: Path, world: int, *words: str) -> subprocess.CompletedProcess[str]:
    before = [*TORCHRUN, str(world)] if world > 1 else [sys.executable]
    command = [*before, str(PROGRAM), str(tiny), str(folder), *words]
    return started_by(command)


def started_by(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | environment, timeout=300)


CASES = (
    *(
        "full",
        "accumulated",
        "gradual",
        "lora",
        "averaged",
        "streamed",
        "distilled",
        "in-batch",
        "nested",
        "dpo",
        "dpo-lora",
    ),
    *("grown", "grown-writer"),
)
Outcomes = dict[str, tuple[Any, dict[str, torch.Tensor]]]


def outcomes(tiny: Path, folder: Path, world: int, parallel: str) -> Outcomes:
    ended = run(tiny, folder, world, parallel, ",".join(CASES))
    assert ended.returncode == 0, ended.stderr
    return {
        case: (json.loads((folder / f"{case}.json").read_text()), load_file(folder / f"{case}.safetensors"))
        for case in CASES
    }


@pytest.fixture(scope="module")
def alone(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(tiny, tmp_path_factory.mktemp("alone"), 1, "none")


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "world"), [("ddp", 2), ("ddp", 4), ("fsdp", 2), ("fsdp", 4)])
def test_each_step_is_that_of_one_process(
    tiny: Path, tmp_path: Path, alone: Outcomes, parallel: str, world: int
) -> None:
    together = outcomes(tiny, tmp_path, world, parallel)
    for case in CASES:
        (steps, tensors), (several, found) = alone[case], together[case]
        assert len(steps) == len(several) > 4
        for one, other in zip(steps, several, strict=True):
            assert other == pytest.approx(one, rel=1e-5), case
        assert found.keys() == tensors.keys()
        assert any(name.startswith("gradients.") for name in found)
        assert ("gradients.0.embeddings.token.new" in found) == case.startswith("grown")
        for name, tensor in tensors.items():
            largest = tensor.abs().max().item()
            torch.testing.assert_close(
                found[name], tensor, rtol=0, atol=1e-5 * max(largest, 1e-3), msg=f"{case}: {name}"
            )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["grpo", "grpo-lora", "grown"])
def test_what_each_process_draws_and_learns_is_the_same_after_an_interruption(
    tiny: Path, tmp_path: Path, case: str
) -> None:
    """With `grpo` each process draws its own completions; that all end with the same weights, the program checks."""
    found = []
    for folder, orders in ((tmp_path / "unbroken", [[]]), (tmp_path / "interrupted", [["stop=3"], ["resume"]])):
        for words in orders:
            ended = run(tiny, folder, 2, "ddp", case, *words)
        assert ended.returncode == 0, ended.stderr
        found.append(load_file(folder / f"{case}.safetensors"))
    assert "begins at 3 of 8" in ended.stdout
    unbroken, resumed = found
    assert all(step["norm"] > 0 for step in json.loads((folder / f"{case}.json").read_text()) if "norm" in step)
    learned = [name for name in unbroken if name.startswith("weights.")]
    assert [name for name in learned if not torch.equal(unbroken[name], resumed[name])] == []


@pytest.fixture(scope="module")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("unbroken")
    run(tiny, folder, 1, "none", "clipped")
    return json.loads((folder / "clipped.json").read_text()), load_file(folder / "clipped.safetensors")


def goes_on(tiny: Path, folder: Path, world: int, parallel: str, unbroken: tuple[Any, dict[str, torch.Tensor]]) -> None:
    """From step 3, to the weights of the unbroken run up to what Adam makes of rounding."""
    has_gone_on(run(tiny, folder, world, parallel, "clipped", "resume"), folder, unbroken)


def has_gone_on(
    again: subprocess.CompletedProcess[str], folder: Path, unbroken: tuple[Any, dict[str, torch.Tensor]]
) -> None:
    assert again.returncode == 0, again.stderr
    assert "begins at 3 of 8" in again.stdout
    steps, tensors = unbroken
    found, log = load_file(folder / "clipped.safetensors"), json.loads((folder / "clipped.json").read_text())
    for name in (name for name in tensors if name.startswith("weights.")):
        torch.testing.assert_close(found[name], tensors[name], rtol=1e-3, atol=1e-4, msg=name)
    losses = [step["loss"] for step in steps if "loss" in step][3:]
    assert [step["loss"] for step in log if "loss" in step] == pytest.approx(losses, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "before", "after"), [("ddp", 4, 2), ("fsdp", 4, 2), ("fsdp", 2, 4), ("fsdp", 2, 1)]
)
def test_a_state_goes_on_with_another_number_of_processes(
    tiny: Path,
    tmp_path: Path,
    unbroken: tuple[Any, dict[str, torch.Tensor]],
    parallel: str,
    before: int,
    after: int,
) -> None:
    stopped = run(tiny, tmp_path, before, parallel, "clipped", "stop=3")
    assert "Interrupted: stopped after step 3 of 8" in stopped.stderr
    goes_on(tiny, tmp_path, after, parallel if after > 1 else "none", unbroken)


@pytest.mark.slow
def test_a_process_that_dies_ends_all_with_a_message_and_the_next_goes_on(
    tiny: Path, tmp_path: Path, unbroken: tuple[Any, dict[str, torch.Tensor]]
) -> None:
    ended = run(tiny, tmp_path, 2, "ddp", "clipped", "die=4")
    assert ended.returncode != 0
    assert "exitcode  : 7" in ended.stderr  # torchrun's own words on who died and how
    goes_on(tiny, tmp_path, 2, "ddp", unbroken)


@pytest.mark.slow
def test_torchrun_starts_them_again_where_rounds_share_no_store(
    tiny: Path, tmp_path: Path, unbroken: tuple[Any, dict[str, torch.Tensor]]
) -> None:
    """In a shared one, the processes of the second round find the addresses of the first and call those."""
    words = [str(PROGRAM), str(tiny), str(tmp_path), "ddp", "clipped", "die=4", "resume"]
    ended = started_by([*TORCHRUN, "2", "--max-restarts", "1", *words], TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    assert "begins at 0 of 8" in ended.stdout
    has_gone_on(ended, tmp_path, unbroken)
