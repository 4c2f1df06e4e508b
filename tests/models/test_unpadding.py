"""A batch of mixed lengths read in groups: the same numbers, fewer tokens."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitl import forward_unpadded
from minitl.errors import InputError
from minitl.models.loading import load_model
from minitl.models.unpadding import OVERHEAD, groups_by_length

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
NAMES = [
    "bert-backbone",
    "bert-masked-lm",
    "bert-sequence-classification",
    "bert-question-answering",
    "deberta-v2-token-classification",
    "electra-replaced-token-detection",
    "modernbert-sequence-classification",
    "roberta-backbone",
    "gpt2-causal-lm",
    "llama-sequence-classification",
]
MODELS = {name: load_model(CHECKPOINTS / name) for name in NAMES}
DECODERS = [name for name in NAMES if name.startswith(("gpt2", "llama"))]
lengths_of_a_batch = st.lists(st.integers(1, 12), min_size=1, max_size=9)


def draw_batch(name: str, lengths: list[int], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    steps, counts, longest = torch.arange(max(lengths)), torch.tensor(lengths)[:, None], max(lengths)
    config = MODELS[name].config
    ids = torch.randint(config.vocab_size, (len(lengths), longest))
    mask = (steps < counts if side == "right" else steps >= longest - counts).long()
    if config.pad_token_id is not None:  # RoBERTa reads padding off the ids
        ids = ids.where(ids != config.pad_token_id, (config.pad_token_id + 1) % config.vocab_size)
        ids = ids.where(mask.bool(), config.pad_token_id)
    return ids, mask


@pytest.mark.parametrize(("name", "side"), [(name, "right") for name in NAMES] + [(name, "left") for name in DECODERS])
@settings(max_examples=12, deadline=None)
@given(lengths=lengths_of_a_batch, seed=st.integers(0, 99), overhead=st.sampled_from([0, 3, 1000]))
def test_the_outputs_are_the_models_own(name: str, side: str, lengths: list[int], seed: int, overhead: int) -> None:
    torch.manual_seed(seed)
    model, (ids, mask) = MODELS[name], draw_batch(name, lengths, side)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setitem(OVERHEAD, "cpu", overhead)
        whole = model(ids, mask, output_hidden_states=True)
        grouped = forward_unpadded(model, ids, mask, output_hidden_states=True)
    assert [name for name, _ in grouped.items()] == [name for name, _ in whole.items()]
    real = mask.bool()
    for (field, expected), (_, actual) in zip(whole.items(), grouped.items(), strict=True):
        per_text = field == "pooler_output" or (field == "logits" and model.task == "sequence-classification")
        pairs = zip(expected, actual, strict=True) if isinstance(expected, tuple) else [(expected, actual)]
        for one, other in pairs:
            assert other.shape == one.shape
            if not per_text:
                assert other[~real].eq(0).all()
                one, other = one[real], other[real]
            torch.testing.assert_close(other, one, rtol=0, atol=2e-5 * max(1.0, float(one.abs().max())))


def test_other_inputs_are_cut_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OVERHEAD, "cpu", 0)
    model, (ids, mask) = MODELS["bert-backbone"], draw_batch("bert-backbone", [9, 2, 5], "right")
    types = torch.randint(2, ids.shape)
    with torch.no_grad():
        expected = model(ids, mask, token_type_ids=types).pooler_output
        actual = forward_unpadded(model, ids, mask, token_type_ids=types).pooler_output
    torch.testing.assert_close(actual, expected)


def test_gradients_flow_through_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OVERHEAD, "cpu", 0)
    model, (ids, mask) = MODELS["bert-sequence-classification"], draw_batch("bert-backbone", [9, 2, 5], "right")
    found = []
    for forward in (model, lambda *batch: forward_unpadded(model, *batch)):
        model.zero_grad()
        forward(ids, mask).logits.square().sum().backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_a_row_of_padding_alone_is_zero_in_every_token() -> None:
    ids, mask = draw_batch("bert-backbone", [9, 2, 5], "right")
    mask[1] = 0
    output = forward_unpadded(MODELS["bert-backbone"], ids, mask)
    assert output.last_hidden_state[1].eq(0).all()
    assert output.last_hidden_state.isfinite().all()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 50))
def test_the_groups_cost_as_little_as_any_neighbouring_ones(lengths: list[int], overhead: int) -> None:
    def cost(groups: list[list[int]]) -> int:
        return sum(len(group) * max(lengths[row] for row in group) + overhead for group in groups)

    groups = groups_by_length(lengths, overhead)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    least = cost(groups)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for cuts in range(2 ** (len(lengths) - 1)):  # every way to cut the sorted rows
        places = [0, *(i + 1 for i in range(len(lengths) - 1) if cuts >> i & 1), len(lengths)]
        assert least <= cost([order[start:end] for start, end in pairwise(places)])


def test_a_mask_of_another_shape_is_refused() -> None:
    ids, mask = draw_batch("bert-backbone", [4, 2], "right")
    with pytest.raises(InputError, match=r"attention_mask must be \[batch, length\] like input_ids, \[2, 4\]"):
        forward_unpadded(MODELS["bert-backbone"], ids, mask[:, :3])


def test_a_source_and_its_target_are_refused() -> None:
    model = load_model(CHECKPOINTS / "t5-seq2seq-lm")
    ids, mask = torch.full((2, 4), 5), torch.ones(2, 4, dtype=torch.long)
    with pytest.raises(InputError, match="a t5 model reads sources and targets of unlike lengths: call it itself"):
        forward_unpadded(model, ids, mask, decoder_input_ids=ids)
    encoder = load_model(CHECKPOINTS / "t5-token-classification")
    mask[1, 2:] = 0
    with torch.no_grad():
        torch.testing.assert_close(forward_unpadded(encoder, ids, mask).logits[0], encoder(ids, mask).logits[0])


def test_another_input_of_another_shape_is_refused() -> None:
    ids, mask = draw_batch("bert-backbone", [4, 2], "right")
    with pytest.raises(InputError, match=r"token_type_ids must be \[batch, length\] like input_ids, \[2, 4\], got"):
        forward_unpadded(MODELS["bert-backbone"], ids, mask, token_type_ids=ids[:1])
