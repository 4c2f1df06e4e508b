"""LoRA+: each tensor at its own rate, from the first step to the last."""

import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from minitl import LoraConfig, fit
from minitl.data import Example
from minitl.errors import InputError, Interrupted, TrainingError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import FULL, LoraPlus, Settings, Step, Strategy
from minitl.training.optimizer import make_schedule

Make = Callable[[], Model]
CONFIG = LoraConfig(r=4, alpha=8, dropout=0.1, target_modules="all-linear", bias="lora_only")
QUICK = Settings(epochs=2, batch_size=8, learning_rate=2e-3, weight_decay=0.05)
ALIKE, PLUS = Strategy("lora", lora=CONFIG), Strategy("lora", lora=CONFIG, lora_plus=LoraPlus(ratio=16))
MATRIX, VECTOR = nn.Parameter(torch.empty(3, 2)), nn.Parameter(torch.empty(3))


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


class StopAt:
    """Interrupts the training after one of its steps."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_start(self, steps: int, done: int) -> None: ...

    def on_step(self, step: Step) -> None:
        if step.step == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_validation(self, validation: object) -> None: ...


@pytest.mark.parametrize(
    ("name", "parameter", "scale"),
    [
        ("layers.0.attention.query.adapters.default.lora_A", MATRIX, 1),
        ("layers.0.attention.query.adapters.default.lora_B", MATRIX, 8),
        ("layers.0.attention.query.adapters.default.lora_magnitude", VECTOR, 8),
        ("layers.0.attention.query.bias", VECTOR, 8),
        ("head.classifier.weight", MATRIX, 1),
        ("head.classifier.bias", VECTOR, 8),
        ("embeddings.token.adapters.default.lora_embedding_A", MATRIX, 0.25),
        ("embeddings.token.adapters.default.lora_embedding_B", MATRIX, 0.25),
        ("layers.0.lora_B.weight", MATRIX, 1),  # a layer of that name is no update
    ],
)
def test_the_name_of_a_tensor_decides_its_rate(name: str, parameter: nn.Parameter, scale: float):
    assert LoraPlus(ratio=8, embedding_rate=0.5).scale(name, parameter, learning_rate=2.0) == scale


def test_every_step_is_taken_at_the_scheduled_rate_times_the_ratio(
    classifier: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
):
    taken: list[dict[str, float]] = []
    step = torch.optim.AdamW.step
    model = classifier()

    def watched(self: torch.optim.AdamW) -> object:
        held = {id(p): group["lr"] for group in self.param_groups for p in group["params"]}
        taken.append({name: held[id(p)] for name, p in model.named_parameters() if id(p) in held})
        return step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    history = fit(model, examples, task=task, settings=QUICK, strategy=PLUS).history
    assert len(taken) == 12
    rate = make_schedule(QUICK, len(taken))
    assert [logged.learning_rate for logged in history.steps] == [rate(i) for i in range(12)]  # the log tells A's
    assert len({rate(i) for i in range(12)}) > 5
    for i, rates in enumerate(taken):
        fast = {name for name in rates if name.endswith(("lora_B", "bias"))}
        slow = {name for name in rates if name.endswith(("lora_A", "classifier.weight"))}
        assert fast | slow == set(rates)
        assert {rates[name] for name in slow} == {rate(i)}
        assert {rates[name] for name in fast} == {16 * rate(i)}


def test_a_ratio_of_1_is_ordinary_lora(classifier: Make, task: SequenceClassification, examples: list[Example]):
    trained = []
    for strategy in (ALIKE, Strategy("lora", lora=CONFIG, lora_plus=LoraPlus(ratio=1)), PLUS):
        model = classifier()
        fit(model, examples, task=task, settings=QUICK, strategy=strategy)
        trained.append(weights(model))
    alike, one, plus = trained
    assert all(torch.equal(value, one[name]) for name, value in alike.items())
    assert any(not torch.equal(value, plus[name]) for name, value in alike.items())


@pytest.mark.parametrize("stop_at", [1, 6, 9])
def test_a_resumed_training_equals_an_unbroken_one(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path, stop_at: int
):
    unbroken = classifier()
    fit(unbroken, examples, task=task, settings=QUICK, strategy=PLUS)
    with pytest.raises(Interrupted):
        fit(
            classifier(),
            examples,
            task=task,
            settings=QUICK,
            strategy=PLUS,
            folder=tmp_path,
            listener=StopAt(stop_at),
        )
    with pytest.raises(TrainingError, match=r"differs: strategy\.lora_plus"):
        fit(classifier(), examples, task=task, settings=QUICK, strategy=ALIKE, folder=tmp_path, resume=True)
    resumed = classifier()
    fit(resumed, examples, task=task, settings=QUICK, strategy=PLUS, folder=tmp_path, resume=True)
    found = weights(resumed)
    assert [name for name, value in weights(unbroken).items() if not torch.equal(value, found[name])] == []


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 0.5}, {"ratio": math.inf}, {"ratio": math.nan}, {"embedding_rate": 0.0}, {"embedding_rate": math.nan}],
    ids=str,
)
def test_rates_that_mean_nothing_are_refused(wrong: dict[str, float]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        LoraPlus(**wrong)


def test_without_adapters_it_is_refused():
    with pytest.raises(InputError, match="'full': lora_plus sets the rates of adapters"):
        Strategy(FULL.name, lora_plus=LoraPlus())
