"""What preference tuning shares: the reference, and how likely a completion is."""

import math
from collections.abc import Callable

import pytest
import torch

from minitl import LoraConfig, add_lora, use_adapter
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.tasks.policy import Reference, token_log_probs
from minitl.tasks.task import NO_TARGET

Make = Callable[[], Model]
IDS = torch.tensor([[5, 6, 7, 8]])


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def shifted(model: Model) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1


def test_log_probabilities_by_hand() -> None:
    scores = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [9.0, 9.0]]], requires_grad=True)
    tokens = torch.tensor([[1, 0, NO_TARGET]])
    said = token_log_probs(scores, tokens)
    torch.testing.assert_close(said, torch.tensor([[math.log(3 / 4), math.log(1 / 2), 0.0]]))
    said.sum().backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[0], torch.tensor([[-0.25, 0.25], [0.5, -0.5], [0.0, 0.0]]))


def test_a_model_tuned_in_full_is_compared_with_what_it_was_when_settled(writer: Make) -> None:
    model = writer()
    before = logits(model)
    reference = Reference(model)
    reference.settle()
    shifted(model)
    reference.settle()  # which is done, and does not take another copy
    with reference.model() as frozen:
        assert torch.equal(logits(frozen), before)
        assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not torch.equal(logits(model), before)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_with_adapters_is_compared_with_itself_without_them(writer: Make, training: bool) -> None:
    model = writer()
    before = logits(model)
    add_lora(model, LoraConfig(r=2, target_modules="all-linear"))
    shifted_b = [parameter for name, parameter in model.named_parameters() if name.endswith("lora_B")]
    for parameter in shifted_b:
        parameter.data += 0.5
    tuned = logits(model)
    learns = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.train(training)
    reference = Reference(model)
    reference.settle()
    with reference.model() as base:
        assert base is model
        assert not base.training
        assert torch.equal(base(IDS).logits, before)
    assert model.training is training
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == learns
    assert torch.equal(logits(model), tuned)


def test_mixed_adapters_are_mixed_again(writer: Make) -> None:
    model = writer()
    add_lora(model, LoraConfig(r=2, target_modules="all-linear"), "one")
    use_adapter(model, ["one"])
    with Reference(model).model():
        assert model.lora.rows is None
    assert model.lora.rows == ["one"]


def test_an_error_leaves_the_policy_as_it_was(writer: Make) -> None:
    model = writer().train()
    add_lora(model, LoraConfig(r=2, target_modules="all-linear"))
    with pytest.raises(ZeroDivisionError), Reference(model).model():
        _ = 1 / 0
    assert model.lora.active == "default"
    assert model.training


def test_another_model_may_be_the_reference(writer: Make, tiny: str) -> None:
    from minitl import load_model

    model, other = writer(), writer()
    shifted(other)
    reference = Reference(model, other)
    reference.settle()
    with reference.model() as frozen:
        assert frozen is other
    with pytest.raises(InputError, match="needs the policy's head, causal-lm"):
        Reference(model, load_model(tiny))
