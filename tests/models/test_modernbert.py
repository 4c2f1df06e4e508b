"""What is ModernBERT's own: windows that grow with the layers, long texts without squares, two speeds of turning."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minitl.models.base import Model
from minitl.models.loading import new_model

SIZES: dict[str, Any] = {
    "model_type": "modernbert",
    "vocab_size": 50,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 4,
    "intermediate_size": 32,
    "local_attention": 4,
}


def random_model(task: str = "backbone", **fields: Any) -> Model:
    """Weights large enough that every token that is looked at is noticed."""
    model = new_model({**SIZES, **fields}, task)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0.0, 0.4)
    return model


def changed_by(model: Model, ids: Tensor, place: int) -> list[int]:
    """The tokens whose last hidden state depends on the token at `place`."""
    other = ids.clone()
    other[:, place] = (other[:, place] + 1) % 50
    with torch.no_grad():
        difference = model(other).last_hidden_state - model(ids).last_hidden_state
    return difference[0].abs().amax(-1).gt(1e-6).nonzero().flatten().tolist()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_local_layer_carries_a_token_half_a_window_further(layers: int) -> None:
    model = random_model(num_hidden_layers=layers, layer_types=["sliding_attention"] * layers)
    ids = torch.randint(0, 50, (1, 30))
    assert changed_by(model, ids, 15) == list(range(15 - 2 * layers, 16 + 2 * layers))


def test_every_third_layer_looks_at_the_whole_text() -> None:
    ids = torch.randint(0, 50, (1, 30))
    assert changed_by(random_model(), ids, 15) == list(range(30))
    with torch.no_grad():
        maps = random_model()(ids, output_attentions=True).attentions
    assert [bool(weights[0, :, 0, -1].gt(0).all()) for weights in maps] == [True, False, False, True]


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_tensor_of_a_long_text_has_the_size_of_its_length_squared() -> None:
    model, ids = random_model(), torch.randint(0, 50, (1, 8192))
    with torch.no_grad(), Largest() as largest:
        model(ids)
    assert 8192 <= largest.elements <= 8192 * 3 * 24  # queries, keys and values
    with torch.no_grad(), Largest() as largest:
        model(ids[:, :512], output_attentions=True)
    assert largest.elements >= 512**2  # a map is what was asked for


@pytest.mark.parametrize("padded", [False, True])
def test_a_long_text_has_the_same_numbers_with_maps_and_without(padded: bool) -> None:
    model = random_model(local_attention=32).double()
    ids, mask = torch.randint(0, 50, (2, 203)), torch.ones(2, 203, dtype=torch.long)
    if padded:
        mask[1, 120:] = 0
    with torch.no_grad():
        whole, cut = model(ids, mask, output_attentions=True), model(ids, mask)
    difference = (whole.last_hidden_state - cut.last_hidden_state)[mask.bool()]
    assert difference.abs().max() < 1e-9


def test_padding_on_the_left_changes_nothing_either() -> None:
    model, ids = random_model(), torch.randint(0, 50, (1, 20))
    mask = torch.ones(1, 20, dtype=torch.long)
    mask[:, :7] = 0
    with torch.no_grad():
        padded, alone = model(ids, mask).last_hidden_state[:, 7:], model(ids[:, 7:]).last_hidden_state
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["full_attention", "sliding_attention"])
def test_each_kind_of_layer_turns_at_its_own_speed(kind: str) -> None:
    older = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}[kind]
    model = random_model()
    ids = torch.randint(0, 50, (1, 12))
    answers = []
    for fields in ({}, {older: 77.0}, {"rope_parameters": {kind: {"rope_theta": 77.0}}}):
        other = new_model({**SIZES, **fields})
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            answers.append(other(ids, output_hidden_states=True).hidden_states)
    assert all(torch.equal(a, b) for a, b in zip(answers[1], answers[2], strict=True))
    first = 1 if kind == "full_attention" else 2  # after which layer the change shows
    assert torch.equal(answers[0][first - 1], answers[1][first - 1])
    assert not torch.allclose(answers[0][first], answers[1][first], atol=1e-4)


def test_positions_are_given_or_counted() -> None:
    model, ids = random_model(), torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        counted, stretched = model(ids), model(ids, position_ids=2 * torch.arange(9)[None])
        same = model(ids, position_ids=torch.arange(9).expand(2, 9))
    assert torch.equal(counted.last_hidden_state, same.last_hidden_state)
    assert not torch.allclose(counted.last_hidden_state, stretched.last_hidden_state, atol=1e-3)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_classifier_pools_as_the_config_says(pooling: str) -> None:
    model = random_model("sequence-classification", classifier_pooling=pooling)
    ids, mask = torch.randint(0, 50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[1, 4:] = 0
    with torch.no_grad():
        output, head = model(ids, mask), model.head
        hidden = output.last_hidden_state
        rows = hidden[:, 0] if pooling == "cls" else torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0)])
        expected = head.out(head.norm(torch.nn.functional.gelu(head.dense(rows))))
    torch.testing.assert_close(output.logits, expected)
