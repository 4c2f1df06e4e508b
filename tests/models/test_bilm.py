"""The bidirectional language model: each direction sees its own side, padding changes nothing, tasks mix the layers."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl import LoraConfig, add_lora, load_model, new_model, save_model
from minitl.errors import ConfigError, InputError
from minitl.models.base import Model

CONFIG = {
    "model_type": "bilm",
    "vocab_size": 20,
    "projection_size": 4,
    "cell_size": 6,
    "num_hidden_layers": 2,
    "initializer_range": 0.5,
}


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return new_model(CONFIG, "bidirectional-lm")


def states(model: Model, ids: list[int]) -> torch.Tensor:
    """[layers, length, hidden]"""
    found = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack(found)[:, 0]


@torch.no_grad()
def test_the_first_half_sees_what_is_on_the_left_and_the_second_what_is_on_the_right(model: Model) -> None:
    before, after = states(model, [3, 4, 5, 6, 7]), states(model, [3, 4, 9, 6, 7])
    changed = (before != after).any(-1)  # [layers, length]
    assert changed[0].tolist() == [False, False, True, False, False]
    for layer in (1, 2):
        ahead, back = (before[layer] != after[layer]).unflatten(-1, (2, 4)).any(-1).unbind(-1)
        assert ahead.tolist() == [False, False, True, True, True]
        assert back.tolist() == [True, True, True, False, False]


@torch.no_grad()
def test_read_backwards_with_the_directions_exchanged_it_is_the_same(model: Model) -> None:
    other = new_model(CONFIG)
    other.mix = None
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    swap = {"left_to_right": "right_to_left", "right_to_left": "left_to_right"}
    other.load_state_dict({".".join(swap.get(part, part) for part in n.split(".")): v for n, v in weights.items()})
    ahead, back = states(model, [3, 4, 5, 6]).chunk(2, -1)
    theirs_back, theirs_ahead = states(other, [6, 5, 4, 3]).flip(1).chunk(2, -1)
    torch.testing.assert_close(ahead, theirs_ahead)
    torch.testing.assert_close(back, theirs_back)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.booleans())
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(model: Model, lengths: list[int], left: bool) -> None:
    width = max(lengths)
    ids = torch.randint(0, 20, (len(lengths), width))
    place = torch.arange(width)[None]
    count = torch.tensor(lengths)[:, None]
    mask = (place >= width - count if left else place < count).long()
    together = model(ids, mask).last_hidden_state
    for row, real in enumerate(mask.bool()):
        alone = model(ids[row : row + 1, real]).last_hidden_state[0]
        torch.testing.assert_close(together[row, real], alone)


@torch.no_grad()
def test_the_head_speaks_of_both_neighbours_by_one_matrix_the_embedding(model: Model) -> None:
    output = model(torch.tensor([[3, 4, 5]]))
    assert output.logits.shape == (1, 3, 2, 20)
    table = model.embeddings.token.weight
    assert model.head.decoder.weight is table
    expected = output.last_hidden_state[..., 4:] @ table.T + model.head.decoder.bias
    torch.testing.assert_close(output.logits[:, :, 1], expected)


@torch.no_grad()
def test_a_task_mixes_all_layers_and_a_language_model_none(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    assert load_model(tmp_path).mix is None
    assert load_model(tmp_path, "backbone").mix is None
    tagger = load_model(tmp_path, "token-classification", num_labels=3)
    assert set(tagger.untaught) == {"head.classifier", "mix"}
    assert tagger.mix.weights.tolist() == [0.0, 0.0, 0.0]
    assert float(tagger.mix.gamma) == 1.0
    ids = torch.tensor([[3, 4, 5]])
    output = tagger(ids, output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, torch.stack(output.hidden_states).mean(0))
    tagger.mix.weights.copy_(torch.tensor([0.0, 50.0, 0.0]))
    save_model(tagger, tmp_path / "tagger")
    again = load_model(tmp_path / "tagger")(ids, output_hidden_states=True)
    torch.testing.assert_close(again.last_hidden_state, output.hidden_states[1])


def test_adapters_stand_where_they_are_heard_and_gates_take_none() -> None:
    tagger = new_model(CONFIG, "token-classification", num_labels=3)
    ids = torch.tensor([[3, 4, 5]])
    before = tagger(ids).logits
    add_lora(tagger, LoraConfig(r=2, target_modules="all-linear"))
    layers = [name for name, module in tagger.named_modules() if hasattr(module, "adapters")]
    assert layers == [f"layers.{i}.{way}.projection" for i in (0, 1) for way in ("left_to_right", "right_to_left")]
    for name, parameter in tagger.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
            assert not torch.equal(tagger(ids).logits, before)
            torch.nn.init.zeros_(parameter)
    with pytest.raises(InputError, match="gates"):
        add_lora(new_model(CONFIG), LoraConfig(r=2, target_modules=["gates"]))


def test_a_cell_is_at_least_as_large_as_what_it_puts_out() -> None:
    with pytest.raises(ConfigError, match=r"config\.json: field 'projection_size' must be at most 'cell_size' \(6\)"):
        new_model({**CONFIG, "projection_size": 8})
