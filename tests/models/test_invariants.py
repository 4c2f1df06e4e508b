"""What must hold in every family, whatever the weights: padding, batching, caching and the future change nothing."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.loading import load_model
from minitl.nn.heads import EndTokenClassifier

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
ENCODERS = [
    "bert-backbone",
    "bert-masked-lm",
    "bert-sequence-classification",
    "bert-question-answering",
    "roberta-backbone",
    "deberta-v2-backbone",
    "deberta-v2-sequence-classification",
    "deberta-v2-token-classification",
    "modernbert-backbone",
    "modernbert-backbone-biased",
    "modernbert-masked-lm-untied",
    "modernbert-sequence-classification",
    "modernbert-sequence-classification-first",
    "modernbert-token-classification",
    "modernbert-question-answering",
]
DECODERS = [
    "gpt2-backbone",
    "gpt2-causal-lm-inverse-layer",
    "gpt2-sequence-classification",
    "llama-causal-lm",
    "llama-causal-lm-biased",
    "llama-token-classification",
    "llama-sequence-classification",
    "mistral-backbone",
    "mistral-causal-lm-whole",
    "mistral-sequence-classification",
]
# Given no target, they shift the source.
ENCODER_DECODERS = [
    "t5-backbone",
    "t5-seq2seq-lm-gated",
    "t5-sequence-classification",
    "t5-token-classification",
    "mt5-question-answering",
    "bart-backbone",
    "bart-seq2seq-lm",
    "bart-sequence-classification",
    "bart-question-answering",
    "mbart-seq2seq-lm",
    "mbart-sequence-classification",
    "pegasus-seq2seq-lm",
    "m2m_100-backbone",
    "m2m_100-seq2seq-lm",
]
MODELS = {name: load_model(CHECKPOINTS / name) for name in ENCODERS + DECODERS + ENCODER_DECODERS}
SIDES = [(name, "right") for name in MODELS] + [(name, "left") for name in DECODERS + ENCODER_DECODERS]
# Those that classify a text at its end token ask for one.
TOLERANT = [name for name, model in MODELS.items() if not isinstance(model.head, EndTokenClassifier)]

every_model = pytest.mark.parametrize("name", MODELS)
every_decoder = pytest.mark.parametrize("name", DECODERS)
either_side = pytest.mark.parametrize(("name", "side"), SIDES)
few = settings(max_examples=10, deadline=None)
lengths_of_a_batch = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def draw_batch(model: Model, lengths: list[int], side: str) -> tuple[Tensor, Tensor]:
    """Random ids padded on one side (with random ids: padding is what the mask says), and the attention mask."""
    steps, counts, longest = torch.arange(max(lengths)), torch.tensor(lengths)[:, None], max(lengths)
    ids = torch.randint(0, model.config.vocab_size, (len(lengths), longest))
    mask = (steps < counts if side == "right" else steps >= longest - counts).long()
    if isinstance(model.head, EndTokenClassifier):
        ids.scatter_(1, mask.cumsum(-1).argmax(-1, keepdim=True), model.config.eos_token_id)
    return ids, mask


def assert_near(actual: Tensor, expected: Tensor, limit: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=limit * max(1.0, float(expected.abs().max())))


def per_token(model: Model, output: object) -> dict[str, Tensor]:
    """The outputs [batch, length, ...] of a model, by name."""
    names = ["last_hidden_state", "start_logits", "end_logits"]
    names += ["logits"] if model.task != "sequence-classification" else []
    return {name: getattr(output, name) for name in names if getattr(output, name) is not None}


def per_text(model: Model, output: object) -> dict[str, Tensor]:
    """The outputs [batch, ...] of a model, by name."""
    names = ["pooler_output"] + (["logits"] if model.task == "sequence-classification" else [])
    return {name: getattr(output, name) for name in names if getattr(output, name) is not None}


@either_side
@pytest.mark.parametrize("attentions", [False, True], ids=["fused", "plain"])
@few
@given(lengths=lengths_of_a_batch, seed=st.integers(0, 1000))
def test_padded_equals_unpadded(name: str, side: str, attentions: bool, lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]
    ids, mask = draw_batch(model, lengths, side)
    with torch.no_grad():
        together = model(ids, mask, output_attentions=attentions)
        for row, real in enumerate(mask.bool()):
            alone = model(ids[row : row + 1, real])
            for field, expected in per_token(model, alone).items():
                assert_near(getattr(together, field)[row, real], expected[0])
            for field, expected in per_text(model, alone).items():
                assert_near(getattr(together, field)[row], expected[0])


@every_model
def test_a_batch_equals_its_rows_one_by_one(name: str) -> None:
    model = MODELS[name]
    ids, _ = draw_batch(model, [9] * 5, "right")
    with torch.no_grad():
        together, alone = model(ids), [model(row[None]) for row in ids]
    for field, tensor in {**per_token(model, together), **per_text(model, together)}.items():
        assert_near(tensor, torch.cat([getattr(output, field) for output in alone]))


@either_side
def test_no_gradient_flows_from_padding(name: str, side: str) -> None:
    model = MODELS[name]
    ids, mask = draw_batch(model, [7, 3, 1], side)
    embedded: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    handle = model.embeddings.register_forward_hook(keep)
    try:
        output = model(ids, mask)
    finally:
        handle.remove()
    real = mask.bool()
    total = sum(tensor[real].square().sum() for tensor in per_token(model, output).values())
    total += sum(tensor.square().sum() for tensor in per_text(model, output).values())
    total.backward()
    model.zero_grad()
    for tensor in embedded:  # of an encoder-decoder, the source's and the target's
        assert tensor.grad is not None
        assert tensor.grad[~real].eq(0).all()
        assert tensor.grad[real].ne(0).any(-1).all()


@pytest.mark.parametrize("name", TOLERANT)
@pytest.mark.parametrize("attentions", [False, True], ids=["fused", "plain"])
def test_a_row_of_padding_alone_gives_no_nan(name: str, attentions: bool) -> None:
    model = MODELS[name]
    ids, mask = draw_batch(model, [5, 3, 4], "right")
    mask[1] = 0
    output = model(ids, mask, output_attentions=attentions)
    outputs = {**per_token(model, output), **per_text(model, output)}
    assert all(tensor.isfinite().all() for tensor in outputs.values())
    sum(tensor.square().sum() for tensor in outputs.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    model.zero_grad()


@every_decoder
@few
@given(chunks=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 1000), padded=st.booleans())
def test_cached_in_chunks_equals_uncached(name: str, chunks: list[int], seed: int, padded: bool) -> None:
    torch.manual_seed(seed)
    model, total = MODELS[name], min(sum(chunks), 16)
    ids, mask = draw_batch(model, [total, (total + 1) // 2], "left")
    if not padded:
        mask = torch.ones_like(mask)
    cache, parts, end = model.new_cache(2, total), [], 0
    with torch.no_grad():
        whole = model(ids, mask).last_hidden_state
        for chunk in chunks:
            start, end = end, min(end + chunk, total)
            if start < end:
                seen = mask[:, :end] if padded else None
                parts.append(model(ids[:, start:end], seen, cache=cache).last_hidden_state)
    assert cache.length == total
    assert_near(torch.cat(parts, dim=1)[mask.bool()], whole[mask.bool()])


@every_decoder
@few
@given(place=st.integers(1, 9), seed=st.integers(0, 1000))
def test_later_tokens_never_change_earlier_outputs(name: str, place: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]
    ids, _ = draw_batch(model, [10, 10], "right")
    other = ids.clone()
    other[:, place:] = (ids[:, place:] + 1) % model.config.vocab_size
    with torch.no_grad():
        before, after = model(ids).last_hidden_state, model(other).last_hidden_state
    assert_near(after[:, :place], before[:, :place], 1e-6)
    assert (after[:, place:] - before[:, place:]).abs().amax(-1).gt(1e-4).all()


@every_decoder
def test_positions_count_real_tokens_unless_they_are_given(name: str) -> None:
    model = MODELS[name]
    ids, mask = draw_batch(model, [8, 5], "left")
    counted = torch.tensor([range(8), [0, 0, 0, *range(5)]])
    with torch.no_grad():
        implied, given_ = model(ids, mask).last_hidden_state, model(ids, mask, position_ids=counted).last_hidden_state
        moved = model(ids, mask, position_ids=counted * 2).last_hidden_state
    real = mask.bool()
    assert torch.equal(implied[real], given_[real])
    assert not torch.allclose(implied[real], moved[real], atol=1e-3)


@every_model
@pytest.mark.parametrize("offset", [0, 1000])
def test_a_token_id_beyond_the_embedding_is_named(name: str, offset: int) -> None:
    model = MODELS[name]
    beyond = model.config.vocab_size + offset
    with pytest.raises(
        InputError, match=rf"token id {beyond} is beyond the embedding.* 0 to {model.config.vocab_size - 1}"
    ):
        model(torch.tensor([[1, beyond, 2]]))
    with pytest.raises(InputError, match="token id -1 "):
        model(torch.tensor([[1, -1]]))


@pytest.mark.parametrize("name", ["bert-backbone", "roberta-backbone", "gpt2-backbone"])
def test_a_text_longer_than_the_position_table_is_refused(name: str) -> None:
    model = MODELS[name]
    kind = name.split("-")[0]
    limit = model.position_limit
    assert limit in (14, 16)  # RoBERTa's first positions are not for text
    assert model(torch.full((1, limit), 5)).last_hidden_state.shape[1] == limit
    with pytest.raises(
        InputError, match=rf"a text of {limit + 1} tokens: this {kind} model has positions for {limit};"
    ):
        model(torch.full((1, limit + 1), 5))


@pytest.mark.parametrize("name", ["gpt2-backbone"])
def test_padding_takes_no_position(name: str) -> None:
    model = MODELS[name]
    ids, mask = draw_batch(model, [20, 16], "left")
    mask[0, :4] = 0
    with torch.no_grad():
        assert_near(model(ids, mask).last_hidden_state[0, 4:], model(ids[:1, 4:]).last_hidden_state[0])


def test_given_positions_beyond_the_table_are_named() -> None:
    with pytest.raises(InputError, match="position 16 is beyond the embedding, which has rows 0 to 15"):
        MODELS["bert-backbone"](torch.ones(1, 2, dtype=torch.long), position_ids=torch.tensor([[0, 16]]))


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("t5-backbone", "token_type_ids"),
        ("bart-backbone", "position_ids"),
        ("gpt2-backbone", "token_type_ids"),
        ("llama-causal-lm", "token_type_ids"),
        ("modernbert-backbone", "token_type_ids"),
        ("bert-backbone", "decoder_input_ids"),
        ("gpt2-backbone", "decoder_attention_mask"),
    ],
)
def test_an_input_that_the_family_does_not_have_is_refused(name: str, argument: str) -> None:
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(InputError, match=rf"a {name.split('-')[0]} model takes no {argument}"):
        MODELS[name](ids, **{argument: ids})


@pytest.mark.parametrize(
    "ids", [torch.ones(4, dtype=torch.long), torch.ones(1, 4), torch.ones(1, 0, dtype=torch.long)], ids=str
)
def test_input_ids_of_the_wrong_kind_are_refused(ids: Tensor) -> None:
    with pytest.raises(InputError, match="input_ids"):
        MODELS["bert-backbone"](ids)


@every_model
@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (1, 5), (3, 5), (5,), (2, 1, 5), (2, 1, 5, 5)])
def test_an_attention_mask_of_another_shape_than_the_texts_is_refused(name: str, shape: tuple[int, ...]) -> None:
    ids, _ = draw_batch(MODELS[name], [5, 5], "right")
    with pytest.raises(InputError) as error:
        MODELS[name](ids, torch.ones(shape, dtype=torch.long))
    assert str(error.value) == f"attention_mask must have the shape [2, 5], got {list(shape)}"


@every_decoder
def test_with_a_cache_the_attention_mask_covers_the_earlier_tokens_too(name: str) -> None:
    model = MODELS[name]
    ids, mask = draw_batch(model, [6, 6], "right")
    cache = model.new_cache(2, 6)
    model(ids[:, :4], mask[:, :4], cache=cache)
    with pytest.raises(InputError, match=r"attention_mask must have the shape \[2, 6\], got \[2, 2\]"):
        model(ids[:, 4:], mask[:, 4:], cache=cache)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("bert-backbone", "token_type_ids"), ("bert-backbone", "position_ids"), ("gpt2-backbone", "position_ids")],
)
def test_token_types_and_positions_stand_for_every_token_of_each_row_or_of_all(name: str, argument: str) -> None:
    model, ids = MODELS[name], torch.ones(3, 4, dtype=torch.long)
    one, all_rows = torch.zeros(1, 4, dtype=torch.long), torch.zeros(3, 4, dtype=torch.long)
    with torch.no_grad():
        shared, each = model(ids, **{argument: one}), model(ids, **{argument: all_rows})
    assert torch.equal(shared.last_hidden_state, each.last_hidden_state)
    for shape in [(3, 3), (3, 1), (2, 4), (4,)]:
        expected = rf"{argument} must have the shape \[3, 4\] or \[1, 4\], got "
        with pytest.raises(InputError, match=expected):
            model(ids, **{argument: torch.zeros(shape, dtype=torch.long)})


@every_model
def test_every_parameter_but_the_heads_has_its_depth(name: str) -> None:
    model = MODELS[name]
    depths = model.parameter_groups_by_depth()
    assert len(depths) == len(model.layers) + 2
    grouped = [id(parameter) for group in depths for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert id(model.embeddings.token.weight) in {id(parameter) for parameter in depths[0]}
    own_of_head = {id(p) for n, p in model.named_parameters() if n.startswith("head.")}
    assert set(grouped) | own_of_head == {id(parameter) for parameter in model.parameters()}
    assert not set(grouped) & own_of_head


SPEAKERS = sorted(path.name for path in CHECKPOINTS.iterdir() if "-masked-lm" in path.name or "-causal-lm" in path.name)


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("share", [0.3, 0.0])
def test_what_is_said_at_some_tokens_is_what_is_said_there_among_all(name: str, share: float) -> None:
    """With its gradient, which is what makes it of use: the head computes nothing for the others."""
    model = load_model(CHECKPOINTS / name)
    ids, mask = draw_batch(model, [9, 4, 7], "right")
    asked = (torch.rand(ids.shape) < share) & mask.bool()
    output, whole = model(ids, mask, asked=asked), model(ids, mask)
    assert output.logits.shape == (int(asked.sum()), whole.logits.shape[-1])
    torch.testing.assert_close(output.logits, whole.logits[asked], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.last_hidden_state, whole.last_hidden_state)
    if share:
        weight = model.layers[0].get_parameter(next(n for n, p in model.layers[0].named_parameters() if p.dim() == 2))
        gradients = [
            torch.autograd.grad(logits.logsumexp(-1).sum(), weight)[0]
            for logits in (output.logits, whole.logits[asked])
        ]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_only_the_head_of_a_language_model_is_asked_for_some_tokens() -> None:
    model = MODELS["bert-masked-lm"]
    ids = torch.ones(2, 5, dtype=torch.long)
    for asked in (torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 5)):
        with pytest.raises(InputError, match=r"asked must be bool \[2, 5\]"):
            model(ids, asked=asked)
    with pytest.raises(InputError, match="this one's is sequence-classification"):
        MODELS["bert-sequence-classification"](ids, asked=torch.ones(2, 5, dtype=torch.bool))
