"""What can be asked of the loop: half precisions, optimisers, averages, pulls, recomputing, validations by steps."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minitl import LoraConfig, fit
from minitl.data import Example
from minitl.errors import Diverged, InputError, Interrupted
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import FROZEN, FULL, GRADUAL, HEAD_THEN_BODY, Settings, Step, Strategy, Validation, evaluate
from minitl.training.averaging import Average
from minitl.training.recomputing import recomputed
from minitl.training.state import saved_states
from minitl.training.stepping import LossScale
from tests.training.test_fit import without_dropout

LORA = Strategy("lora", lora=LoraConfig(r=4, alpha=8, dropout=0.1, target_modules="all-linear"))
QUICK = Settings(epochs=3, batch_size=8, learning_rate=3e-3)
Make = Callable[[], Model]
Train = Callable[..., Model]


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(one: Model, other: Model) -> bool:
    return all(p.equal(q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


class Hearing:
    """Keeps what it hears; at step `stop_at` it asks to stop."""

    def __init__(self, stop_at: int = 0) -> None:
        self.stop_at, self.steps, self.validations = stop_at, [], []
        self.each: Callable[[], None] = lambda: None

    def on_start(self, steps: int, done: int) -> None:
        pass

    def on_step(self, step: Step) -> None:
        self.steps.append(step)
        self.each()
        if step.step == self.stop_at:
            os.kill(os.getpid(), 15)

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)


@pytest.fixture
def train(classifier: Make, task: SequenceClassification, examples: list[Example]) -> Train:
    def run(settings: Settings, strategy: Strategy = FULL, validation: int = 10, **others: object) -> Model:
        model = others.pop("model", None) or classifier()
        assert isinstance(model, Model)
        options = {"task": task, "settings": settings, "strategy": strategy, **others}
        run.result = fit(model, examples, examples[:validation], **options)  # type: ignore[attr-defined, arg-type]
        return model

    return run


@pytest.mark.parametrize(
    "settings",
    [
        replace(QUICK, optimizer="adafactor", learning_rate=1e-1),
        replace(QUICK, optimizer="muon", learning_rate=3e-2),
        replace(QUICK, optimizer="sgd", learning_rate=0.3),
        replace(QUICK, autocast="float16", learning_rate=5e-3),
        replace(QUICK, autocast="bfloat16", checkpointing=True, learning_rate=5e-3),
        replace(QUICK, ema=0.8, learning_rate=5e-3),
    ],
    ids=lambda s: f"{s.optimizer} {s.autocast} {s.ema}",
)
def test_each_learns_and_goes_on_bit_for_bit(
    train: Train, task: SequenceClassification, examples: list[Example], tmp_path: Path, settings: Settings
) -> None:
    settings = replace(settings, epochs=12)
    unbroken = train(settings)
    if settings.optimizer != "sgd":  # which needs many more steps
        assert evaluate(unbroken, examples, task=task)["accuracy"] > 0.9
    with pytest.raises(Interrupted):
        train(settings, folder=tmp_path, listener=Hearing(40))
    assert same(train(settings, folder=tmp_path, resume=True), unbroken)


def test_adafactor_goes_as_far_at_its_usual_rate_as_adamw_at_its_own(train: Train, classifier: Make) -> None:
    """Its steps are a share of each weight's size."""
    name = "layers.0.feed_forward.up.weight"
    start = classifier().get_parameter(name)
    way = {}
    for optimizer in ("adamw", "adafactor"):
        model = train(Settings(batch_size=8, optimizer=optimizer), validation=0)
        way[optimizer] = float((model.get_parameter(name) - start).detach().abs().mean())
    assert 0.5 < way["adafactor"] / way["adamw"] < 10


def test_muon_turns_the_matrices_of_the_layers_alone(classifier: Make) -> None:
    from minitl.training.optimizer import make_optimizer

    model = classifier()
    names = {name for name, _ in model.named_parameters()}
    muon, adamw = make_optimizer(model, replace(QUICK, optimizer="muon"), names).members
    assert isinstance(muon, torch.optim.Muon)
    held = {id(p) for group in muon.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in held) == (name.startswith("layers.") and p.dim() == 2), name
    assert len(held) + sum(len(g["params"]) for g in adamw.param_groups) == len(names)


def test_a_float16_gradient_that_overflows_is_not_taken_and_the_scale_halves(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale, "FIRST", 2.0**24)  # beyond what float16 gradients hold
    hearing = Hearing()
    model = train(replace(QUICK, autocast="float16"), listener=hearing)
    overflowed = [step for step in hearing.steps if not math.isfinite(step.grad_norm)]
    assert hearing.steps[: len(overflowed)] == overflowed != []  # the first, until the scale is small enough
    assert len(overflowed) < len(hearing.steps)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_a_scale_doubles_after_many_good_steps_and_stays_for_other_types() -> None:
    scale = LossScale("float16")
    for _ in range(LossScale.PATIENCE):
        scale.held()
    assert scale.value == 2 * LossScale.FIRST
    assert scale.overflowed()
    assert (scale.value, scale.good_steps) == (LossScale.FIRST, 0)
    plain = LossScale("bfloat16")
    assert (plain.value, plain.overflowed()) == (1.0, False)


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda s: s.name)
def test_recomputed_activations_give_the_same_weights(train: Train, strategy: Strategy) -> None:
    """Dropout too is drawn the same again; over LoRA nothing that enters the first layer asks for a gradient."""
    kept, recomputed_ = train(QUICK, strategy), train(replace(QUICK, checkpointing=True), strategy)
    assert same(kept, recomputed_)


def test_recomputing_ends_with_the_training(classifier: Make) -> None:
    model = classifier()
    with recomputed(model):
        assert all("forward" in vars(layer) for layer in model.layers)
    assert not any("forward" in vars(layer) for layer in model.layers)


def test_an_average_is_what_its_formula_says_and_is_what_remains(train: Train, classifier: Make) -> None:
    model, hearing = classifier(), Hearing()
    name = "layers.0.feed_forward.up.weight"
    average = model.get_parameter(name).detach().clone()
    seen: list[torch.Tensor] = []
    hearing.each = lambda: seen.append(model.get_parameter(name).detach().clone())
    train(replace(QUICK, ema=0.6), model=model, listener=hearing, validation=0)
    for step, value in enumerate(seen, start=1):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    torch.testing.assert_close(model.get_parameter(name).detach(), average, rtol=1e-5, atol=1e-7)


def test_the_average_is_in_place_only_within(classifier: Make) -> None:
    model = classifier()
    average = Average(model, {"head.classifier.weight"}, 0.5)
    before = model.get_parameter("head.classifier.weight").detach().clone()
    with torch.no_grad():
        model.get_parameter("head.classifier.weight").add_(1.0)
    with average.in_place(model):
        assert model.get_parameter("head.classifier.weight").equal(before)
    assert model.get_parameter("head.classifier.weight").equal(before + 1)
    assert average.values["head.classifier.weight"].equal(before)


def test_a_validation_that_diverges_leaves_the_best_average(
    train: Train, classifier: Make, task: SequenceClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, model, validated = task.loss, classifier(), []

    def diverging(output: Output, targets: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        loss, count = losses(output, targets)
        if not torch.is_grad_enabled():
            validated.append(weights(model))
        return (loss * math.inf if len(validated) == 2 else loss), count

    monkeypatch.setattr(task, "loss", diverging)
    with pytest.raises(Diverged, match=r"validation loss is inf at step 12 of 18 .* epoch 1 were put back"):
        train(replace(QUICK, ema=0.9), model=model)
    best, later = validated
    assert all(value.equal(best[name]) for name, value in weights(model).items())
    assert not all(value.equal(best[name]) for name, value in later.items())


def test_l2_sp_adds_its_gradient_and_leaves_no_decay_in_the_backbone(
    classifier: Make, task: SequenceClassification, examples: list[Example]
) -> None:
    """Against the loss of the paper's equation, differentiated by autograd, by plain SGD: three steps."""
    alpha = 0.7
    settings = Settings(epochs=3, batch_size=64, optimizer="sgd", learning_rate=0.5, schedule="constant", warmup=0.0,
                        clip=0.0, weight_decay=0.0)  # fmt: skip
    ours, theirs = without_dropout(classifier()), without_dropout(classifier()).train()
    fit(ours, examples, task=task, settings=settings, strategy=replace(FULL, l2_sp=alpha))
    start = weights(theirs)
    batch = task.collate(task.encode(examples))
    for _ in range(3):
        loss, count = task.loss(theirs(**batch.inputs), batch.targets)
        pull = sum(((p - start[n]) ** 2).sum() for n, p in theirs.named_parameters() if not n.startswith("head."))
        theirs.zero_grad()
        (loss / count + alpha / 2 * pull).backward()
        with torch.no_grad():
            for p in theirs.parameters():
                if p.grad is not None:
                    p -= 0.5 * p.grad
    for name, value in weights(theirs).items():
        torch.testing.assert_close(ours.get_parameter(name).detach(), value, rtol=1e-4, atol=1e-6, msg=name)


def test_l2_sp_keeps_the_backbone_near(train: Train, classifier: Make) -> None:
    start = weights(classifier())

    def distance(model: Model) -> float:
        return sum(
            float((p.detach() - start[n]).square().sum()) for n, p in model.named_parameters() if "head." not in n
        )

    free, pulled = (train(QUICK, replace(FULL, l2_sp=strength)) for strength in (0.0, 5.0))
    assert distance(pulled) < 0.7 * distance(free)


def test_validations_by_steps_and_the_best_of_them(train: Train, tmp_path: Path) -> None:
    hearing = Hearing()
    settings = replace(QUICK, evaluate_every=4)  # 18 steps in 3 epochs of 6
    model = train(settings, listener=hearing)
    assert [v.step for v in hearing.validations] == [4, 8, 12, 16, 18]
    assert [v.epoch for v in hearing.validations] == pytest.approx([4 / 6, 8 / 6, 2, 16 / 6, 3])
    for at in (4, 8, 13):  # before the validation that was due, and elsewhere
        folder = tmp_path / str(at)
        with pytest.raises(Interrupted):
            train(settings, folder=folder, listener=Hearing(at))
        again = Hearing()
        assert same(train(settings, folder=folder, resume=True, listener=again), model)
        assert [v.step for v in again.validations] == [s for s in (4, 8, 12, 16, 18) if s >= at]


def test_patience_counts_validations(
    train: Train, task: SequenceClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.2, 0.9, 0.5, 0.4, 1.0])
    score = task.score
    monkeypatch.setattr(task, "score", lambda *answers: {**score(*answers), "accuracy": next(accuracies)})
    train(replace(QUICK, evaluate_every=2, patience=2))
    assert [v.step for v in train.result.history.validations] == [2, 4, 6, 8]  # type: ignore[attr-defined]
    assert train.result.best_epoch == pytest.approx(4 / 6)  # type: ignore[attr-defined]


def test_a_loss_that_explodes_ends_the_training_and_leaves_the_batch(
    train: Train, task: SequenceClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, calls = task.loss, [0]

    def exploding(output: object, targets: object) -> tuple[torch.Tensor, int]:
        calls[0] += torch.is_grad_enabled()
        loss, count = losses(output, targets)  # type: ignore[arg-type]
        return (loss * 1000 if calls[0] == 13 else loss), count

    monkeypatch.setattr(task, "loss", exploding)
    with pytest.raises(
        Diverged,
        match=r"above 1[0-9.]+, which is all that `explosion` allows .* at step 13 of 18 .*what was read is in",
    ):
        train(QUICK, folder=tmp_path)
    facts = json.loads((tmp_path / "diverged" / "facts.json").read_text())
    tensors = load_file(tmp_path / "diverged" / "batches.safetensors")
    assert (facts["step"], facts["what"], len(facts["items"][0])) == (13, "loss", 8)
    items = task.encode(_examples(train))
    expected = task.collate([items[i] for i in facts["items"][0]])
    assert tensors["inputs.0.input_ids"].equal(expected.inputs["input_ids"])
    assert tensors["targets.0.labels"].equal(expected.targets["labels"])
    monkeypatch.undo()
    train(replace(QUICK, explosion=0.0))


def test_a_training_that_explodes_from_the_beginning_is_known_by_its_first_loss(train: Train, tmp_path: Path) -> None:
    wild = replace(QUICK, optimizer="sgd", learning_rate=1e3, warmup=0.0, clip=0.0)
    with pytest.raises(Diverged, match=r"the loss is .* above 1[0-9.]+, which is all that `explosion` allows") as told:
        train(wild, folder=tmp_path)
    step = int(str(told.value).partition("at step ")[2].partition(" ")[0])
    assert 1 < step <= 10
    # one that goes on after an interruption has the same yardstick
    with pytest.raises(Interrupted):
        train(wild, folder=tmp_path / "stopped", listener=Hearing(stop_at=1))
    with pytest.raises(Diverged) as again:
        train(wild, folder=tmp_path / "stopped", resume=True)
    assert str(again.value).partition("; what")[0] == str(told.value).partition("; what")[0]


def _examples(train: Train) -> list[Example]:
    cells = dict(zip(train.__code__.co_freevars, train.__closure__ or (), strict=True))  # type: ignore[attr-defined]
    found: list[Example] = cells["examples"].cell_contents
    return found


def test_by_epoch_opens_only_at_the_beginning_of_one(train: Train, classifier: Make) -> None:
    def opened(strategy: Strategy) -> list[int]:
        model, hearing, counts = classifier(), Hearing(), []
        hearing.each = lambda: counts.append(sum(p.requires_grad for p in model.parameters()))
        train(QUICK, strategy, model=model, listener=hearing)
        return counts

    for counts, changes in ((opened(GRADUAL), 3), (opened(replace(GRADUAL, by_epoch=True)), 2)):
        steps = [i for i in range(1, 18) if counts[i] != counts[i - 1]]
        assert counts == sorted(counts)
        assert len(steps) >= changes
    assert steps == [6, 12]
    head, *_, body = opened(HEAD_THEN_BODY)
    assert (head, body) == (2, len(list(classifier().parameters())))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("optimizer", "adam", "one of adamw, adafactor, muon, sgd"),
        ("autocast", "float8", "one of float32, bfloat16, float16"),
        ("ema", 1.0, "from 0 to below 1"),
        ("evaluate_every", 0, "at least 1"),
        ("save_every", 0, "at least 1"),
        ("keep", 0, "at least 1"),
        ("explosion", -1.0, "at least 0"),
    ],
)
def test_settings_that_mean_nothing(field: str, value: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(QUICK, **{field: value})


def test_strategies_that_mean_nothing() -> None:
    with pytest.raises(InputError, match="adapters need none"):
        replace(LORA, l2_sp=0.1)
    with pytest.raises(InputError, match="l2_sp must be at least 0"):
        replace(FULL, l2_sp=-1.0)
    for useless in ({"l2_sp": 0.1}, {"layer_decay": 0.9}):
        with pytest.raises(InputError, match="strategy 'frozen': layer_decay and l2_sp are of use to a backbone that"):
            replace(FROZEN, **useless)


def test_what_would_never_open_is_refused(train: Train) -> None:
    by_epoch = replace(GRADUAL, by_epoch=True)  # of 6 steps each
    for settings, epochs in ((replace(QUICK, epochs=1), "1"), (replace(QUICK, steps=3), r"0\.5")):
        with pytest.raises(InputError, match=f"the last of {epochs} at 0 of the training: the opening at 0.5 is never"):
            train(settings, by_epoch)
    assert all(p.requires_grad for p in train(replace(QUICK, steps=9), by_epoch).parameters())


@pytest.mark.parametrize("asked", [("patience",), ("evaluate_every",), ("evaluate_every", "patience")])
def test_what_is_asked_of_validations_needs_a_split(train: Train, asked: tuple[str, ...]) -> None:
    settings = replace(QUICK, epochs=1, **dict.fromkeys(asked, 2))
    with pytest.raises(InputError, match=f"^{' and '.join(asked)}: there is no validation split"):
        train(settings, validation=0)
    train(settings)


def test_states_by_steps(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(replace(QUICK, save_every=3, keep=9), folder=tmp_path, listener=Hearing(8))
    steps = [json.loads((s / "state.json").read_text())["progress"]["step"] for s in saved_states(tmp_path)]
    assert steps == [3, 6, 8]


def test_a_signal_that_another_process_heard_stops_this_one_as_told_to(train: Train, tmp_path: Path) -> None:
    from minitl.training.engine import Engine

    class Second(Engine):
        """Of four, of which another is asked to stop after the first step."""

        def sums(self, *numbers: float) -> list[float]:
            return [numbers[0] + 1, *numbers[1:]] if len(numbers) == 2 else list(numbers)

    with pytest.raises(Interrupted, match="after step 1 of 18") as stopped:
        train(QUICK, folder=tmp_path, engine=Second(), validation=0)
    assert stopped.value.signum == 15
    assert len(saved_states(tmp_path)) == 1
