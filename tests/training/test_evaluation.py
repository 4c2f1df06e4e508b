"""An evaluation draws what it draws, and leaves the training's random numbers as they were, on each device."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minitl.data import Example
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import evaluate, evaluation


@pytest.mark.parametrize(("device", "forked"), [("cpu", []), ("cuda:1", [torch.device("cuda:1")])])
def test_the_generator_of_the_models_device_is_put_back(
    monkeypatch: pytest.MonkeyPatch, device: str, forked: list[torch.device]
) -> None:
    seen: list[Sequence[Any]] = []

    @contextlib.contextmanager
    def fork_rng(devices: Sequence[Any]) -> Iterator[None]:
        seen.append(list(devices))
        yield

    def run(*_: Any) -> tuple[str, float]:
        assert seen == [forked]
        return "answers", 0.5

    model: Any = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]))
    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    monkeypatch.setattr(torch, "manual_seed", lambda _: None)
    monkeypatch.setattr(evaluation, "_run_over", run)
    nothing: Any = None
    assert evaluation.run_over(model, nothing, nothing, 8) == ("answers", 0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_next_number_is_the_one_that_would_have_come(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example]
) -> None:
    model = classifier().to("cuda")
    torch.cuda.manual_seed_all(5)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed_all(5)
    evaluate(model, examples, task=task)
    assert torch.rand(4, device="cuda").equal(expected)
