"""The loop: what it learns, what it leaves alone, and what it does when something goes wrong."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minitl import LoraConfig, fit
from minitl.data import Example
from minitl.errors import DataError, Diverged, InputError, Interrupted, TrainingError
from minitl.models.base import Model
from minitl.nn.dropout import Dropout
from minitl.nn.output import Output
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import (
    FROZEN,
    FULL,
    GRADUAL,
    Settings,
    Step,
    Strategy,
    Validation,
    discard_state,
    evaluate,
    predict,
)
from minitl.training.memory import PeakMemory

LORA = Strategy("lora", lora=LoraConfig(r=4, alpha=8, dropout=0.1, target_modules="all-linear"))
QUICK = Settings(epochs=3, batch_size=8, learning_rate=3e-3)
Make = Callable[[], Model]


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def without_dropout(model: Model) -> Model:
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_p"):
            module.dropout_p = 0.0
    return model


class Listening:
    """Records what it hears, and sends a signal after step `stop_at`."""

    def __init__(self, stop_at: int = -1, signum: int = signal.SIGINT) -> None:
        self.stop_at, self.signum = stop_at, signum
        self.steps: list[Step] = []
        self.validations: list[Validation] = []
        self.started: tuple[int, int] | None = None

    def on_start(self, steps: int, done: int) -> None:
        self.started = (steps, done)

    def on_step(self, step: Step) -> None:
        self.steps.append(step)
        if step.step == self.stop_at:
            os.kill(os.getpid(), self.signum)

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)


@pytest.mark.parametrize("strategy", [FULL, GRADUAL, LORA], ids=lambda s: s.name)
def test_learns_the_task(classifier: Make, task: SequenceClassification, examples: list[Example], strategy: Strategy):
    settings = replace(QUICK, epochs=12, learning_rate=2e-2 if strategy.lora else 5e-3)
    model = classifier()
    fit(model, examples, task=task, settings=settings, strategy=strategy)
    assert evaluate(model, examples, task=task)["accuracy"] > 0.9


@pytest.mark.parametrize("strategy", [FULL, FROZEN, GRADUAL, LORA], ids=lambda s: s.name)
def test_the_same_seed_gives_the_same_model(
    classifier: Make, task: SequenceClassification, examples: list[Example], strategy: Strategy
):
    runs = []
    for _ in range(2):
        model = classifier()
        fit(model, examples, examples[:10], task=task, settings=QUICK, strategy=strategy)
        runs.append(weights(model))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(
    ("strategy", "stop_at", "signum"),  # stop at the first step, at an epoch's last, and in the middle of one
    [
        (FULL, 1, signal.SIGINT),
        (FULL, 6, signal.SIGTERM),
        (FULL, 11, signal.SIGINT),
        (FROZEN, 8, signal.SIGINT),
        (GRADUAL, 5, signal.SIGTERM),
        (LORA, 11, signal.SIGINT),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_resumed_training_equals_an_unbroken_one(
    classifier: Make,
    task: SequenceClassification,
    examples: list[Example],
    tmp_path: Path,
    strategy: Strategy,
    stop_at: int,
    signum: int,
):
    unbroken = classifier()
    result = fit(unbroken, examples, examples[:10], task=task, settings=QUICK, strategy=strategy)
    with pytest.raises(Interrupted) as stopped:
        fit(
            classifier(),
            examples,
            examples[:10],
            task=task,
            settings=QUICK,
            strategy=strategy,
            folder=tmp_path,
            listener=Listening(stop_at, signum),
        )
    assert stopped.value.signum == signum
    resumed, listening = classifier(), Listening()
    again = fit(
        resumed,
        examples,
        examples[:10],
        task=task,
        settings=QUICK,
        strategy=strategy,
        folder=tmp_path,
        listener=listening,
        resume=True,
    )
    assert listening.started == (18, stop_at)
    assert [s.step for s in listening.steps] == list(range(stop_at + 1, 19))
    expected, found = weights(unbroken), weights(resumed)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert again.history == result.history
    assert again.metrics == result.metrics


def test_an_interruption_in_the_last_validation_is_obeyed_and_resumed_from(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    class AtTheEnd(Listening):
        def on_validation(self, validation: Validation) -> None:
            super().on_validation(validation)
            if validation.epoch == QUICK.epochs:
                os.kill(os.getpid(), signal.SIGINT)

    def train(**arguments: object) -> Model:
        model = classifier()
        fit(model, examples, examples[:10], task=task, settings=QUICK, **arguments)
        return model

    unbroken = weights(train())
    with pytest.raises(Interrupted, match="step 18 of 18"):
        train(folder=tmp_path, listener=AtTheEnd())
    resumed, listening = classifier(), Listening()
    fit(
        resumed,
        examples,
        examples[:10],
        task=task,
        settings=QUICK,
        folder=tmp_path,
        listener=listening,
        resume=True,
    )
    assert listening.steps == []
    assert all(torch.equal(unbroken[name], value) for name, value in weights(resumed).items())


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda s: s.name)
def test_a_finished_training_is_there_until_its_state_is_discarded(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path, strategy: Strategy
):
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  other.bin\n")
    (tmp_path / "other.bin").write_bytes(b"mine")

    def train(listener: Listening) -> tuple[Model, object]:
        model = classifier()
        result = fit(
            model,
            examples,
            examples[:10],
            task=task,
            settings=QUICK,
            strategy=strategy,
            folder=tmp_path,
            listener=listener,
            resume=True,
        )
        return model, (result.history, result.metrics, result.best_epoch)

    trained, result = train(Listening())
    again = Listening()
    found, same = train(again)
    assert again.steps == []
    assert same == result
    assert all(torch.equal(value, weights(found)[name]) for name, value in weights(trained).items())
    discard_state(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"log.jsonl", "steps.csv", "SHA256SUMS", "other.bin"}
    assert (tmp_path / "SHA256SUMS").read_text() == f"{'0' * 64}  other.bin\n"


def test_a_resumed_training_must_be_the_same_one(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    with pytest.raises(Interrupted):
        fit(classifier(), examples, task=task, settings=QUICK, folder=tmp_path, listener=Listening(2))
    for changed in ({"settings": replace(QUICK, learning_rate=1e-3)}, {"strategy": FROZEN}):
        with pytest.raises(TrainingError, match=next(iter(changed))):
            fit(classifier(), examples, task=task, **{"settings": QUICK, **changed}, folder=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="data"):
        fit(classifier(), examples[:-1], task=task, settings=QUICK, folder=tmp_path, resume=True)
    lora = {"task": task, "settings": QUICK, "strategy": LORA, "folder": tmp_path / "lora"}
    with pytest.raises(Interrupted):
        fit(classifier(), examples, listener=Listening(2), **lora)
    other = classifier()
    with torch.no_grad():
        other.layers[0].attention.query.weight += 0.1  # another checkpoint in the same folder
    with pytest.raises(TrainingError, match=r"differs: model\.frozen_weights was"):
        fit(other, examples, **lora, resume=True)
    fit(classifier(), examples, **lora, resume=True)
    other = classifier()
    other.source = "another/checkpoint"
    with pytest.raises(TrainingError, match="differs: model"):
        fit(other, examples, task=task, settings=QUICK, folder=tmp_path, resume=True)


def test_accumulated_batches_equal_one_large_batch(
    classifier: Make, task: SequenceClassification, examples: list[Example]
):
    """Also where the last batch is short: 12 = 8 + 4, which a mean of means would weigh wrongly."""
    models, steps = [], []
    for batch_size, accumulation in ((12, 1), (8, 2)):
        model = without_dropout(classifier())
        settings = Settings(
            epochs=1, batch_size=batch_size, accumulation=accumulation, learning_rate=1e-2, schedule="constant"
        )
        steps += fit(model, examples[:12], task=task, settings=settings).history.steps
        models.append(weights(model))
    assert steps[1].loss == pytest.approx(steps[0].loss, rel=1e-5)
    assert steps[1].grad_norm == pytest.approx(steps[0].grad_norm, rel=1e-4)
    assert steps[0].loss < 2  # a mean, about log 2, not the sum
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_the_gradient_is_clipped_to_its_largest_norm(
    classifier: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
):
    applied = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *arguments: object) -> object:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        applied.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    for clip in (0.05, 0.0):
        model = classifier()
        steps = fit(model, examples, task=task, settings=replace(QUICK, clip=clip)).history.steps
        before = [step.grad_norm for step in steps]
        assert min(before) > 0.05
        assert applied == pytest.approx([clip or norm for norm in before], rel=1e-4)
        applied.clear()


@pytest.mark.parametrize(
    ("strategy", "usual"), [(FULL, 5e-5), (GRADUAL, 5e-5), (FROZEN, 1e-2), (LORA, 5e-4)], ids=lambda v: str(v)[:24]
)
def test_the_learning_rate_is_the_strategys_where_the_settings_name_none(
    classifier: Make, task: SequenceClassification, examples: list[Example], strategy: Strategy, usual: float
):
    trained = []
    for settings in (None, Settings(), Settings(learning_rate=usual)):
        model = classifier()
        history = fit(model, examples, task=task, settings=settings, strategy=strategy).history
        assert max(step.learning_rate for step in history.steps) == usual
        trained.append(weights(model))
    assert all(torch.equal(value, other[name]) for other in trained[1:] for name, value in trained[0].items())


def test_a_resumed_training_may_name_the_rate_that_it_had(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    settings = Settings(batch_size=8)
    with pytest.raises(Interrupted):
        fit(classifier(), examples, task=task, settings=settings, folder=tmp_path, listener=Listening(2))
    listening = Listening()
    settings = replace(settings, learning_rate=FULL.usual_rate)
    fit(classifier(), examples, task=task, settings=settings, folder=tmp_path, listener=listening, resume=True)
    assert listening.steps[0].step == 3


def test_a_frozen_backbone_is_left_bit_for_bit(classifier: Make, task: SequenceClassification, examples: list[Example]):
    model = classifier()
    before = weights(model)
    fit(model, examples, task=task, settings=QUICK, strategy=FROZEN)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed == {"head.classifier.weight", "head.classifier.bias"}


def test_cached_features_train_the_head_as_the_whole_model_would(
    classifier: Make, task: SequenceClassification, examples: list[Example]
):
    """Same data, same head, dropout off: through the cache, and through a backbone opened only after the end."""
    almost_never = Strategy("frozen without cache", ((0.0, 0.0), (0.999, 1.0)))
    models = []
    for strategy in (FROZEN, almost_never):
        model = without_dropout(classifier())
        fit(model, examples, task=task, settings=QUICK, strategy=strategy)
        models.append(weights(model))
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_lora_leaves_the_base_bit_for_bit(classifier: Make, task: SequenceClassification, examples: list[Example]):
    model = classifier()
    before = weights(model)
    fit(model, examples, task=task, settings=QUICK, strategy=LORA)
    after = weights(model)
    kept = [name for name in before if not name.startswith("head.")]
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert any("lora_B" in name and bool(value.any()) for name, value in after.items())


def test_the_best_epoch_on_validation_is_what_remains(
    classifier: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
):
    accuracies = iter([0.2, 0.9, 0.5, 0.9, 0.1])  # of two equal ones the lower loss wins
    score = task.score
    monkeypatch.setattr(task, "score", lambda *answers: {**score(*answers), "accuracy": next(accuracies)})

    class Keeping(Listening):
        def on_validation(self, validation: Validation) -> None:
            super().on_validation(validation)
            kept.append(weights(model))

    model, kept, listening = classifier(), [], Keeping()
    settings = replace(QUICK, epochs=5)
    result = fit(model, examples[15:], examples[:15], task=task, settings=settings, listener=listening)
    losses = [validation.loss for validation in listening.validations]
    assert result.best_epoch == (2 if losses[1] < losses[3] else 4)
    assert result.metrics["accuracy"] == 0.9
    assert all(torch.equal(value, kept[int(result.best_epoch) - 1][name]) for name, value in weights(model).items())
    assert any(not torch.equal(value, kept[-1][name]) for name, value in weights(model).items())
    monkeypatch.undo()
    assert evaluate(model, examples[:15], task=task)["loss"] == pytest.approx(result.metrics["loss"], rel=1e-5)


@pytest.mark.parametrize("interrupted", [False, True])
def test_patience_ends_a_training_that_no_longer_gets_better(
    classifier: Make,
    task: SequenceClassification,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: bool,
) -> None:
    accuracies = iter([0.2, 0.9, 0.5, 0.4, 0.3, 1.0])
    score = task.score
    monkeypatch.setattr(task, "score", lambda *answers: {**score(*answers), "accuracy": next(accuracies)})
    chosen = {"task": task, "settings": replace(QUICK, epochs=6, patience=2), "folder": tmp_path}
    if interrupted:
        with pytest.raises(Interrupted):
            fit(classifier(), examples[15:], examples[:15], listener=Listening(15), **chosen)
    result = fit(classifier(), examples[15:], examples[:15], resume=True, **chosen)
    assert [v.epoch for v in result.history.validations] == [1, 2, 3, 4]
    assert (result.best_epoch, result.metrics["accuracy"]) == (2, 0.9)


def test_a_loss_that_is_not_finite_stops_at_its_step_and_puts_the_best_weights_back(
    classifier: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
):
    class Sabotage(Listening):
        def on_step(self, step: Step) -> None:
            super().on_step(step)
            if step.step == 8:  # in the second epoch
                with torch.no_grad():
                    model.layers[0].feed_forward.up.weight.fill_(float("nan"))

        def on_validation(self, validation: Validation) -> None:
            super().on_validation(validation)
            self.good = weights(model)

    model, listening = classifier(), Sabotage()
    with pytest.raises(Diverged, match=r"loss is nan at step 9 of 18 \(epoch 2\).*epoch 1 were put back"):
        fit(model, examples, examples[:10], task=task, settings=QUICK, folder=tmp_path, listener=listening)
    assert all(torch.equal(value, listening.good[name]) for name, value in weights(model).items())
    assert (tmp_path / "states").exists()  # of the end of epoch 1


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    classifier: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
):
    losses = task.loss

    def infinite_slope(output: Output, targets: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        loss, count = losses(output, targets)
        assert output.logits is not None
        return loss + (output.logits - output.logits.detach()).abs().sum().sqrt(), count  # adds 0; its slope is 0/0

    model = classifier()
    before = weights(model)
    monkeypatch.setattr(task, "loss", infinite_slope)
    with pytest.raises(Diverged, match=r"norm is nan at step 1 of 18.*step 0 stand"):
        fit(model, examples, examples[:10], task=task, settings=QUICK)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_a_validation_loss_that_is_not_finite_is_no_best_epoch(
    classifier: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
):
    losses = task.loss
    overflow = torch.tensor(float("inf"))
    monkeypatch.setattr(
        task, "loss", lambda output, targets: losses(output, targets) if torch.is_grad_enabled() else (overflow, 1)
    )
    with pytest.raises(Diverged, match=r"validation loss is inf at step 6 of 18 \(epoch 1\).*step 6 stand"):
        fit(classifier(), examples, examples[:10], task=task, settings=QUICK)


def test_predictions_keep_the_order_and_need_no_labels(
    classifier: Make, task: SequenceClassification, examples: list[Example]
):
    model = classifier()
    whole = predict(model, [Example(e.text) for e in examples], task=task, batch_size=7)
    singly = torch.cat([predict(model, [e], task=task) for e in examples])
    torch.testing.assert_close(whole, singly, rtol=1e-5, atol=1e-6)
    assert whole.shape == (44, 2)


def test_bfloat16_products_keep_float32_weights_and_learn(
    classifier: Make, task: SequenceClassification, examples: list[Example]
):
    model = classifier()
    settings = replace(QUICK, epochs=12, learning_rate=5e-3, autocast="bfloat16")
    fit(model, examples, task=task, settings=settings)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert evaluate(model, examples, task=task)["accuracy"] > 0.9


def test_bad_input_is_refused_before_any_step(classifier: Make, task: SequenceClassification, tiny: Path):
    from minitl import load_model

    good = [Example("good film", label=1)]
    with pytest.raises(DataError, match="training split is empty"):
        fit(classifier(), [], task=task)
    with pytest.raises(DataError, match="training example 1: label 2 is not one of 0 to 1"):
        fit(classifier(), [*good, Example("bad film", label=2)], task=task)
    with pytest.raises(DataError, match="validation example 0: label None"):
        fit(classifier(), good, [Example("film")], task=task)
    with pytest.raises(InputError, match="needs a model with that head; this one's is backbone"):
        fit(load_model(tiny), good, task=task)
    with pytest.raises(DataError, match="evaluation split is empty"):
        evaluate(classifier(), [], task=task)


def test_what_has_learnt_is_not_frozen_again():
    with pytest.raises(InputError, match="never fall"):
        Strategy("backwards", ((0.0, 1.0), (0.5, 0.0)))


def test_the_peak_of_memory_is_that_of_all_parts(
    classifier: Make,
    task: SequenceClassification,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(PeakMemory, "bytes", 2**50)
    with pytest.raises(Interrupted):
        fit(classifier(), examples, task=task, settings=QUICK, folder=tmp_path, listener=Listening(2))
    monkeypatch.setattr(PeakMemory, "bytes", 2**10)
    result = fit(classifier(), examples, task=task, settings=QUICK, folder=tmp_path, resume=True)
    assert result.peak_memory == 2**50
