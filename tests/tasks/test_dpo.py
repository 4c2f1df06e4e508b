"""DPO: its loss by hand, where it begins, which way it pulls, and what it does not look at."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl import LoraConfig, fit
from minitl.data import Preference
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.nn.dropout import Dropout
from minitl.nn.output import Output
from minitl.tasks.dpo import DPO
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer
from minitl.training import FULL, Settings, Strategy, evaluate

Make = Callable[[], Model]
WORDS = ["film", "book", "food", "hotel", "was", "the", "very", "really"]
PAIRS = [
    Preference(f"the {a} was", f"{b} good", f"{b} bad" if i % 2 else "bad")
    for i, a in enumerate(WORDS[:4])
    for b in WORDS[4:]
]
LORA = Strategy("lora", lora=LoraConfig(r=4, alpha=8, dropout=0.1, target_modules="all-linear"))
QUICK = Settings(epochs=4, batch_size=4)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def output(task: DPO, batch: TrainingBatch) -> Output:
    found: Output = task.policy(**batch.inputs)
    return found


def test_the_loss_by_hand(ending: Tokenizer, writer: Make) -> None:
    """Two tokens, of which the second is the likelier by so many nats: chosen (1, 1), rejected (0)."""
    task = DPO(ending, writer(), beta=0.5)
    nats = math.log(3)
    scores = torch.tensor([0.0, nats]).expand(2, 2, 2)
    tokens = torch.tensor([[1, 1], [0, NO_TARGET]])
    pi_chosen, pi_rejected = 2 * math.log(3 / 4), math.log(1 / 4)
    reference = torch.tensor([-1.0, -2.0])
    targets = {"tokens": tokens, "reference": reference}
    loss, count = task.loss(Output(scores, logits=scores), targets)
    rewards = 0.5 * (pi_chosen + 1.0), 0.5 * (pi_rejected + 2.0)
    # as TRL writes it: the difference of the policy's log ratio and the reference's
    as_published = -math.log(sigmoid(0.5 * ((pi_chosen - pi_rejected) - (-1.0 - -2.0))))
    assert float(loss) == pytest.approx(as_published)
    assert float(loss) == pytest.approx(-math.log(sigmoid(rewards[0] - rewards[1])))
    assert count == 1
    (answer,) = task.answers(Output(scores, logits=scores), TrainingBatch({}, targets))
    assert answer == pytest.approx(rewards)


def test_it_begins_at_log_2(ending: Tokenizer, writer: Make) -> None:
    model = writer()
    scores = evaluate(model, PAIRS, task=DPO(ending, model))
    assert scores["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert scores["margin"] == pytest.approx(0, abs=1e-5)


def test_the_pull_is_that_of_the_paper(ending: Tokenizer, writer: Make) -> None:
    """Section 4: -beta sigmoid(r(rejected) - r(chosen)) times (grad log pi(chosen) - grad log pi(rejected))."""
    task = DPO(ending, writer().eval(), beta=0.3)
    batch = task.collate(task.encode([PAIRS[0]]))
    batch.targets["reference"][0] -= 1.5  # the policy has moved since
    logits = output(task, batch).logits
    assert logits is not None
    logits = logits.detach().requires_grad_()
    found = Output(logits, logits=logits)
    (rewards,) = task.answers(found, batch)
    loss, _ = task.loss(found, batch.targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    tokens = batch.targets["tokens"]
    here = tokens != NO_TARGET
    ones = torch.nn.functional.one_hot(tokens.clamp(min=0), logits.shape[-1])
    of_log_pi = (ones - logits.softmax(-1)) * here[..., None]
    weight = 0.3 * sigmoid(rewards[1] - rewards[0])
    torch.testing.assert_close(gradient, -weight * of_log_pi * torch.tensor([1.0, -1.0])[:, None, None])
    assert gradient[~here].abs().max() == 0  # neither prompts nor padding
    assert gradient[here].abs().min() > 0


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda s: s.name)
def test_it_learns_to_prefer_and_to_stay_near(ending: Tokenizer, writer: Make, strategy: Strategy) -> None:
    model = writer()
    task = DPO(ending, model)
    fit(model, PAIRS, task=task, settings=replace(QUICK, learning_rate=5e-3), strategy=strategy)
    scores = evaluate(model, PAIRS, task=task)  # of which the reference is still what the model was
    assert scores["accuracy"] > 0.95
    assert scores["loss"] < 0.65 < math.log(2)
    assert scores["chosen"] > scores["rejected"]
    fresh = DPO(ending, model, reference=writer())
    assert evaluate(model, PAIRS, task=fresh) == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda strategy: strategy.name)
def test_training_begins_at_the_reference(ending: Tokenizer, writer: Make, strategy: Strategy) -> None:
    """log 2 to the digit: a dropout on one side alone would tell the two apart."""
    model = writer()
    assert any(module.p > 0 for module in model.modules() if isinstance(module, Dropout))
    settings = Settings(epochs=1, batch_size=4, learning_rate=1e-3)
    result = fit(model, PAIRS, task=DPO(ending, model), settings=settings, strategy=strategy)
    assert result.history.steps[0].loss == pytest.approx(math.log(2), abs=1e-6)


def test_padding_changes_nothing(ending: Tokenizer, writer: Make) -> None:
    task = DPO(ending, writer().eval())
    items = task.encode([PAIRS[0], Preference("the very very good hotel was", "a really fine day", "bad"), PAIRS[5]])
    together = task.collate(items)
    alone = [task.collate([item]) for item in items]
    loss, count = task.loss(output(task, together), together.targets)
    losses = [task.loss(output(task, batch), batch.targets)[0] for batch in alone]
    assert count == 3
    torch.testing.assert_close(loss, torch.stack(losses).sum(), rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=5), st.floats(0.01, 2), st.integers(0, 9))
def test_turned_round_a_preference_costs_what_it_gained(
    ending: Tokenizer, writer: Make, pairs: list[Preference], beta: float, seed: int
) -> None:
    """log sigmoid(x) - log sigmoid(-x) = x."""
    model, other = writer().eval(), writer()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    task = DPO(ending, model, beta=beta, reference=other)
    turned = [Preference(pair.prompt, pair.rejected, pair.chosen) for pair in pairs]
    one, two = (evaluate(model, some, task=task) for some in (pairs, turned))
    assert two["margin"] == pytest.approx(-one["margin"], abs=1e-4)
    assert two["loss"] - one["loss"] == pytest.approx(one["margin"], abs=1e-4)
    assert one["accuracy"] + two["accuracy"] == pytest.approx(1)


def test_what_cannot_be_learnt_from_is_refused(ending: Tokenizer, writer: Make) -> None:
    task = DPO(ending, writer())
    for example, says in (
        (Preference("a", "b", ""), "completion is empty"),
        (Preference("a", "b", "b"), "both completions are the same"),
    ):
        with pytest.raises(DataError, match=f"training example 0: .*{says}"):
            task.check([example], "training")
    with pytest.raises(InputError, match="beta must be above 0, got 0"):
        DPO(ending, writer(), beta=0)
    with pytest.raises(InputError, match=r"slot \{prompt\} once"):
        DPO(ending, writer(), template="Q:")
