"""Replay: a second task on the same backbone, whose gradients are added as its formula says."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minitl import fit, load_model, load_tokenizer, new_model, save_model
from minitl.data import Example
from minitl.errors import InputError, Interrupted
from minitl.models.base import Model
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import FROZEN, GRADUAL, HEAD_THEN_BODY, Settings, Step, Strategy
from minitl.training.replay import Replay
from tests.training.test_fit import Listening, without_dropout

QUICK = Settings(epochs=2, batch_size=8, learning_rate=3e-3)
TEXTS = [Example(f"the {a} film was {b} and the {a} book") for a in ("good", "bad", "very") for b in ("really", "a")]


@pytest.fixture
def taught(tiny: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint with a masked-LM head."""
    torch.manual_seed(3)
    config = load_model(tiny, "backbone").config
    save_model(new_model(config, "masked-lm"), tmp_path / "taught", load_tokenizer(tiny))
    return tmp_path / "taught"


@pytest.fixture
def make(taught: Path) -> Callable[..., tuple[Model, Replay]]:
    def both(weight: float = 1.0, batch_size: int = 4) -> tuple[Model, Replay]:
        torch.manual_seed(1)
        model = load_model(taught, "sequence-classification", labels=["negative", "positive"])
        task = MaskedLM(load_tokenizer(taught), 16)
        return model, Replay(load_model(taught, "masked-lm"), task, TEXTS, weight, batch_size)

    return both


Make = Callable[..., tuple[Model, Replay]]


def test_the_backbone_is_one_and_the_table_stays_tied(make: Make) -> None:
    model, replay = make()
    replay.attach(model)
    assert replay.model.layers is model.layers
    assert replay.model.get_parameter("head.decoder.weight") is model.get_parameter("embeddings.token.weight")
    assert not replay.model.head.dense.weight.requires_grad
    assert model.get_parameter("embeddings.token.weight").requires_grad


def test_its_gradient_is_that_of_its_own_mean_loss_times_the_weight(make: Make) -> None:
    model, replay = make(weight=0.3)
    replay.attach(model)
    without_dropout(model)
    without_dropout(replay.model)
    torch.manual_seed(7)
    loss = replay.add(QUICK, 5, factor=11.0)
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    items = replay.task.encode(TEXTS)
    drawn = torch.randint(len(items), (4,), generator=torch.Generator().manual_seed(5)).tolist()
    torch.manual_seed(7)
    batch = replay.task.collate([items[i] for i in drawn])
    summed, count = replay.task.loss(replay.model(**batch.inputs), batch.targets)
    (0.3 * 11.0 * summed / count).backward()
    assert loss == pytest.approx(summed.item() / count, rel=1e-5)
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    assert not any(name.startswith("head.") for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_it_keeps_what_was_taught(make: Make, task: SequenceClassification, examples: list[Example]) -> None:
    """The loss on the replayed text after the same training, with and without."""
    from minitl.training import evaluate

    losses = []
    for weight in (1e-9, 2.0):
        model, replay = make(weight=weight, batch_size=6)
        fit(model, examples, task=task, settings=Settings(epochs=6, batch_size=8, learning_rate=3e-3), replay=replay)
        losses.append(evaluate(replay.model, TEXTS, task=replay.task)["loss"])
    assert losses[1] < losses[0] - 0.1


def test_a_training_with_it_goes_on_bit_for_bit(
    make: Make, task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    class Stopping:
        def on_start(self, steps: int, done: int) -> None:
            pass

        def on_step(self, step: object) -> None:
            if step.step == 5:  # type: ignore[attr-defined]
                os.kill(os.getpid(), 15)

        def on_validation(self, validation: object) -> None:
            pass

    def train(**options: object) -> Model:
        model, replay = make()
        fit(model, examples, task=task, settings=QUICK, replay=replay, **options)  # type: ignore[arg-type]
        return model

    unbroken = train()
    with pytest.raises(Interrupted):
        train(folder=tmp_path, listener=Stopping())
    resumed = train(folder=tmp_path, resume=True)
    assert all(p.equal(q) for p, q in zip(unbroken.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("strategy", [GRADUAL, HEAD_THEN_BODY], ids=lambda s: s.name)
def test_a_backbone_that_opens_later_is_replayed_from_then_on(
    make: Make, task: SequenceClassification, examples: list[Example], strategy: Strategy
) -> None:
    class Watching(Listening):
        def on_step(self, step: Step) -> None:
            super().on_step(step)
            value = model.get_parameter("layers.2.feed_forward.up.weight").detach()
            moved.append(not value.equal(before))

    trained = []
    for weight in (1e-9, 2.0):
        model, replay = make(weight=weight)
        before, moved = model.get_parameter("layers.2.feed_forward.up.weight").detach().clone(), []
        fit(model, examples, task=task, settings=QUICK, strategy=strategy, replay=replay, listener=Watching())
        assert moved == sorted(moved)
        assert (moved[0], moved[-1]) == (False, True)
        trained.append(model.layers[2].feed_forward.up.weight)
    assert not trained[0].equal(trained[1])


def test_each_step_reads_another_batch_which_its_seed_and_number_decide(
    make: Make, task: SequenceClassification, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(seed: int) -> list[tuple[int, ...]]:
        model, replay = make()
        read: list[tuple[int, ...]] = []
        collate = replay.task.collate

        def noted(items: Sequence[object]) -> object:
            read.append(tuple(replay._feed.items.index(item) for item in items))
            return collate(items)

        with monkeypatch.context() as patched:
            patched.setattr(replay.task, "collate", noted)
            fit(model, examples, task=task, settings=replace(QUICK, seed=seed), replay=replay)
        return read

    first = drawn(0)
    assert len(first) == 12
    assert len(set(first)) > 6  # of few texts some batches are drawn twice
    assert {item for batch in first for item in batch} == set(range(5))  # blocks of the texts
    assert first == drawn(0)
    assert first != drawn(1)
    assert len(set(drawn(2**62))) > 6


def test_what_cannot_be_replayed(
    make: Make, taught: Path, task: SequenceClassification, examples: list[Example]
) -> None:
    model, replay = make()
    with pytest.raises(InputError, match="needs a backbone that learns"):
        fit(model, examples, task=task, settings=QUICK, strategy=FROZEN, replay=replay)
    with pytest.raises(InputError, match="weight above 0"):
        make(weight=0.0)
    with pytest.raises(InputError, match="needs a model with that head"):
        Replay(load_model(taught, "backbone"), replay.task, TEXTS)
    other = new_model(
        {"model_type": "gpt2", "vocab_size": 24, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 9}, "causal-lm"
    )
    with pytest.raises(InputError, match="a backbone is lent within a family: bert is not gpt2"):
        replay.attach(other)
