"""GRPO: advantages, KL estimate and loss by hand, what is drawn, and that the mean reward rises."""

import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl import LoraConfig, fit
from minitl.data import Example
from minitl.errors import DataError, InputError, Interrupted
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.grpo import GRPO, advantages, kl_estimate, policy_loss, up_to_end
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer
from minitl.training import FULL, Settings, Strategy, evaluate
from minitl.training.log import Step

Make = Callable[[], Model]
PROMPTS = [Example(f"the {a} was {b}") for a in ("film", "book", "food") for b in ("", "very", "really", "not")]
LORA = Strategy("lora", lora=LoraConfig(r=4, alpha=8, dropout=0.1, target_modules="all-linear"))
QUICK = Settings(epochs=2, batch_size=4, learning_rate=5e-3)
NUMBERS = st.integers(-500, 500).map(lambda n: n / 10)


def goods(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:  # noqa: ARG001
    return [float("good" in text.split()) for text in completions]


def never(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:  # noqa: ARG001
    return [0.25] * len(completions)


def task_of(tokenizer: Tokenizer, model: Model, **options: object) -> GRPO:
    return GRPO(tokenizer, model, **{"reward": goods, "max_length": 16, "max_new_tokens": 5, "group": 4, **options})  # type: ignore[arg-type]


@settings(max_examples=40)
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_advantages_of_a_group_sum_to_nothing(groups: list[list[float]]) -> None:
    rewards = torch.tensor(groups)
    found = advantages(rewards.flatten(), 3).view(-1, 3)
    assert found.sum(-1).abs().max() < 1e-4
    for row, (mine, given_) in enumerate(zip(found, rewards, strict=True)):
        mean = sum(groups[row]) / 3
        spread = math.sqrt(sum((r - mean) ** 2 for r in groups[row]) / 2)
        expected = torch.tensor([(r - mean) / (spread + 1e-4) for r in groups[row]])
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)
        assert mine.argmax() in (given_ == given_.max()).nonzero()
        assert spread > 0 or mine.tolist() == [0.0] * 3


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
def test_the_kl_estimate_is_unbiased_and_never_negative(weights: list[float], others: list[float]) -> None:
    pi = torch.tensor(weights, dtype=torch.float64)
    ref = torch.tensor(others[: len(weights)], dtype=torch.float64)
    pi, ref = pi / pi.sum(), ref / ref.sum()
    estimates = kl_estimate(pi.log(), ref.log())
    assert estimates.min() >= -1e-12
    torch.testing.assert_close((pi * estimates).sum(), (pi * (pi / ref).log()).sum())


def test_the_loss_by_hand() -> None:
    """Two completions, of two tokens and of one; the ratios are 1.5, 0.5 and 0.9, and 0.2 is the clip."""
    said = torch.tensor([[math.log(0.3), math.log(0.1)], [math.log(0.45), 0.0]], requires_grad=True)
    drawn = torch.tensor([[math.log(0.2), math.log(0.2)], [math.log(0.5), 0.0]])
    reference = torch.tensor([[math.log(0.6), math.log(0.1)], [math.log(0.15), 7.0]])
    here = torch.tensor([[True, True], [True, False]])
    found = policy_loss(said, drawn, reference, torch.tensor([2.0, -1.0]), here, 0.2, 0.5)
    kl = [2 - math.log(2) - 1, 0.0, 1 / 3 + math.log(3) - 1]
    first = (-(1.2 * 2) + 0.5 * kl[0] - 0.5 * 2 + 0.5 * kl[1]) / 2
    second = -(0.9 * -1) + 0.5 * kl[2]
    torch.testing.assert_close(found, torch.tensor([first, second]))
    (gradient,) = torch.autograd.grad(found.sum(), said)
    # clipped: the KL alone; then -ratio · A and no KL at all; nothing of a token that is none
    expected = [[0.5 * (1 - 2) / 2, -0.5 * 2 / 2], [0.9 + 0.5 * (1 - 1 / 3), 0.0]]
    torch.testing.assert_close(gradient, torch.tensor(expected))


def test_what_is_drawn_follows_its_prompt_and_is_judged(ending: Tokenizer, writer: Make) -> None:
    model = writer().train()
    task = task_of(ending, model)
    items = task.encode(PROMPTS[:3])
    inputs, targets = task.collate(items)
    assert model.training
    assert inputs["input_ids"].shape[0] == targets["rewards"].shape[0] == 12
    for row in range(12):
        real = inputs["attention_mask"][row].bool()
        ids, tokens = inputs["input_ids"][row][real].tolist(), targets["tokens"][row][real].tolist()
        prompt = items[row // 4].ids.tolist()
        answer = ids[len(prompt) :]
        assert ids[: len(prompt)] == prompt
        assert tokens == [NO_TARGET] * (len(prompt) - 1) + answer + [NO_TARGET]
        assert 1 <= len(answer) <= 5
        assert len(answer) == 5 or answer[-1] == ending.eos_token_id
        assert ending.eos_token_id not in answer[:-1]
        assert float(targets["rewards"][row]) == ("good" in ending.decode(answer).split())
    torch.testing.assert_close(targets["advantages"], advantages(targets["rewards"], 4))
    # the policy has not moved: it says of its tokens what the reference says
    logits = model.eval()(**inputs).logits
    distance = task.answers(Output(logits, logits=logits), TrainingBatch(inputs, targets))
    assert [kl for _, kl in distance] == pytest.approx([0.0] * 3, abs=1e-5)
    assert [reward for reward, _ in distance] == targets["rewards"].view(3, 4).mean(-1).tolist()


def test_draws_follow_torchs_generator(ending: Tokenizer, writer: Make) -> None:
    task = task_of(ending, writer())
    items = task.encode(PROMPTS[:2])
    torch.manual_seed(3)
    first, second = task.collate(items).inputs["input_ids"], task.collate(items).inputs["input_ids"]
    torch.manual_seed(3)
    assert task.collate(items).inputs["input_ids"].tolist() == first.tolist()
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("moved", [False, True])
def test_equal_rewards_teach_nothing_but_to_stay_near(ending: Tokenizer, writer: Make, moved: bool) -> None:
    model = writer()
    task = task_of(ending, model, reward=never, beta=0.5)
    items = task.encode(PROMPTS[:3])
    if moved:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    inputs, targets = task.collate(items)
    loss, count = task.loss(model(**inputs), targets)
    loss.backward()
    slope = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    assert count == 12
    assert (slope > 1e-3) is moved
    assert (float(loss.detach()) > 1e-3) is moved


def test_the_gradient_is_the_advantage_times_that_of_log_pi(ending: Tokenizer, writer: Make) -> None:
    model = writer()
    task = task_of(ending, model, beta=0.0)
    inputs, targets = task.collate(task.encode(PROMPTS[:3]))
    assert targets["advantages"].abs().max() > 0
    logits = model(**inputs).logits.detach().requires_grad_()
    loss, _ = task.loss(Output(logits, logits=logits), targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    tokens = targets["tokens"]
    here = tokens != NO_TARGET
    ones = torch.nn.functional.one_hot(tokens.clamp(min=0), logits.shape[-1])
    of_log_pi = (ones - logits.softmax(-1)) * here[..., None]
    share = targets["advantages"] / here.sum(-1)
    torch.testing.assert_close(gradient, -share[:, None, None] * of_log_pi, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(ending: Tokenizer, writer: Make) -> None:
    model, other = writer(), writer()
    with torch.no_grad():
        other.head.decoder.weight += 0.05  # type: ignore[union-attr, operator]
    task = task_of(ending, model, reference=other)
    inputs, targets = task.collate(task.encode(PROMPTS[:4]))
    whole, _ = task.loss(model(**inputs), targets)
    parts = []
    for row in range(len(targets["rewards"])):
        real = inputs["attention_mask"][row].bool()
        cut = {name: tensor[row : row + 1][:, real] for name, tensor in inputs.items()}
        of_row = {
            name: tensor[row : row + 1][:, real] if tensor.ndim == 2 else tensor[row : row + 1]
            for name, tensor in targets.items()
        }
        parts.append(task.loss(model(**cut), of_row)[0])
    torch.testing.assert_close(whole, torch.stack(parts).sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda s: s.name)
def test_the_mean_reward_rises(ending: Tokenizer, writer: Make, strategy: Strategy) -> None:
    model = writer()
    task = task_of(ending, model, beta=0.01, group=8)
    before = evaluate(model, PROMPTS, task=task)
    assert before["kl"] == pytest.approx(0, abs=1e-5)
    chosen = replace(QUICK, epochs=3, learning_rate=1e-2)
    fit(model, PROMPTS, task=task, settings=chosen, strategy=strategy)
    after = evaluate(model, PROMPTS, task=task)
    assert after["reward"] > before["reward"] + 0.4
    assert after["kl"] > 0.1


class StopAt:
    """A listener that interrupts the training at one of its steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_start(self, steps: int, done: int) -> None:
        pass

    def on_step(self, step: Step) -> None:
        if step.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def on_validation(self, validation: object) -> None:
        pass


@pytest.mark.parametrize("strategy", [FULL, LORA], ids=lambda s: s.name)
def test_a_resumed_training_equals_an_unbroken_one(
    ending: Tokenizer, writer: Make, tmp_path: Path, strategy: Strategy
) -> None:
    """What is drawn, too, and the reference is what it was at the beginning."""

    def trained(**options: object) -> dict[str, torch.Tensor]:
        model = writer()
        task = task_of(ending, model)
        fit(model, PROMPTS, PROMPTS[:4], task=task, settings=QUICK, strategy=strategy, **options)  # type: ignore[arg-type]
        return dict(model.named_parameters())

    unbroken = trained()
    with pytest.raises(Interrupted):
        trained(folder=tmp_path, listener=StopAt(2))
    resumed = trained(folder=tmp_path, resume=True)
    assert [name for name in unbroken if not torch.equal(unbroken[name], resumed[name])] == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
@settings(max_examples=50)
def test_a_completion_ends_with_its_first_end(ids: list[int]) -> None:
    found = up_to_end(np.array(ids, dtype=np.int32), 3).tolist()
    assert found == ids[: len(found)]
    assert 3 not in found[:-1]
    assert len(found) == len(ids) or found[-1] == 3


def test_long_prompts_lose_their_beginning(ending: Tokenizer, writer: Make) -> None:
    task = task_of(ending, writer(), max_length=8, max_new_tokens=5)
    (item,) = task.encode([Example("the film was very good")])
    assert ending.decode(item.ids.tolist()) == "was very good"
    assert task.collate([item]).inputs["input_ids"].shape[1] <= 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beta": -0.1}, "beta must be at least 0"),
        ({"group": 1}, "group must be at least 2"),
        ({"max_new_tokens": 16}, "max_new_tokens must be from 1 to 15"),
        ({"clip": 1.0}, "clip must be between 0 and 1"),
        ({"template": "Q:"}, r"slot \{prompt\} once"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(
    ending: Tokenizer, writer: Make, options: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        task_of(ending, writer(), **options)


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (lambda _prompts, texts: [math.nan] * len(texts), "the reward of .* is nan"),
        (lambda _prompts, _texts: [1.0], r"shape \[1\] for 4 completions"),
    ],
)
def test_a_reward_that_is_none_is_refused(ending: Tokenizer, writer: Make, reward: object, says: str) -> None:
    task = task_of(ending, writer(), reward=reward)
    with pytest.raises(DataError, match=says):
        task.collate(task.encode(PROMPTS[:1]))
    with pytest.raises(DataError, match="training example 0: an empty prompt"):
        task.check([Example(" ")], "training")
