"""What holds in every encoder-decoder that is given a target: padding, batching, caching and the future change nothing.

(What it does without a target stands among the invariants of all families.)
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from torch import Tensor

from minitl.errors import InputError
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.t5 import T5Config

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
NAMES = [f"{family}-backbone" for family in ("t5", "mt5", "bart", "mbart", "pegasus", "m2m_100")]
NAMES += ["t5-seq2seq-lm-gated", "bart-seq2seq-lm", "mbart-seq2seq-lm", "m2m_100-seq2seq-lm", "bart-question-answering"]
MODELS: dict[str, EncoderDecoder] = {name: load_model(CHECKPOINTS / name) for name in NAMES}  # type: ignore[misc]

every_model = pytest.mark.parametrize("name", NAMES)
side = st.sampled_from(["right", "left"])
lengths = st.lists(st.integers(1, 9), min_size=3, max_size=3)
few = run(max_examples=10, deadline=None)


def draw(model: EncoderDecoder, lengths: list[int], side: str = "right") -> tuple[Tensor, Tensor]:
    """Random ids, in the padding too, and the mask that says where that stands."""
    steps, counts, longest = torch.arange(max(lengths)), torch.tensor(lengths)[:, None], max(lengths)
    ids = torch.randint(0, model.config.vocab_size, (len(lengths), longest))
    return ids, (steps < counts if side == "right" else steps >= longest - counts).long()


def assert_near(actual: Tensor, expected: Tensor, limit: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=limit * max(1.0, float(expected.abs().max())))


@every_model
@few
@given(source=lengths, source_side=side, target=lengths, target_side=side, seed=st.integers(0, 1000))
def test_padded_equals_unpadded(
    name: str, source: list[int], source_side: str, target: list[int], target_side: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]
    (ids, mask), (told, told_mask) = draw(model, source, source_side), draw(model, target, target_side)
    with torch.no_grad():
        together = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask)
        for row, (real, written) in enumerate(zip(mask.bool(), told_mask.bool(), strict=True)):
            alone = model(ids[row : row + 1, real], decoder_input_ids=told[row : row + 1, written])
            assert_near(together.last_hidden_state[row, written], alone.last_hidden_state[0])
            assert_near(together.encoder_last_hidden_state[row, real], alone.encoder_last_hidden_state[0])


@every_model
def test_no_gradient_flows_from_padding_of_source_or_target(name: str) -> None:
    model = MODELS[name]
    (ids, mask), (told, told_mask) = draw(model, [7, 3, 1]), draw(model, [2, 6, 4], "left")
    embedded: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    handle = model.embeddings.register_forward_hook(keep)
    try:
        output = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask)
    finally:
        handle.remove()
    output.last_hidden_state[told_mask.bool()].square().sum().backward()
    model.zero_grad()
    for tensor, real in zip(embedded, (mask.bool(), told_mask.bool()), strict=True):
        assert tensor.grad is not None
        assert tensor.grad[~real].eq(0).all()
        assert tensor.grad[real].ne(0).any(-1).all()


@every_model
@pytest.mark.parametrize("attentions", [False, True], ids=["fused", "plain"])
def test_a_source_and_a_target_of_padding_alone_give_no_nan(name: str, attentions: bool) -> None:
    model = MODELS[name]
    (ids, mask), (told, told_mask) = draw(model, [5, 3, 4]), draw(model, [4, 6, 2])
    mask[1], told_mask[2] = 0, 0
    output = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask, output_attentions=attentions)
    assert output.last_hidden_state.isfinite().all()
    output.last_hidden_state.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


@every_model
@few
@given(chunks=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 1000), padded=st.booleans())
def test_cached_in_chunks_equals_uncached(name: str, chunks: list[int], seed: int, padded: bool) -> None:
    torch.manual_seed(seed)
    model, total = MODELS[name], min(sum(chunks), 16)
    ids, mask = draw(model, [6, 4], "left" if padded else "right")
    # two targets for each source, the second of each shorter
    told, told_mask = draw(model, [total, (total + 1) // 2] * 2, "left")
    if not padded:
        told_mask = torch.ones_like(told_mask)
    cache, parts, end = model.new_cache(4, total), [], 0
    with torch.no_grad():
        whole = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask).last_hidden_state
        for chunk in chunks:
            start, end = end, min(end + chunk, total)
            if start < end:
                seen = told_mask[:, :end] if padded else None
                new = told[:, start:end]
                part = model(ids, mask, decoder_input_ids=new, decoder_attention_mask=seen, cache=cache)
                parts.append(part.last_hidden_state)
    assert cache.length == total
    assert_near(torch.cat(parts, dim=1)[told_mask.bool()], whole[told_mask.bool()])


@every_model
def test_with_a_cache_the_source_is_read_once(name: str) -> None:
    model = MODELS[name]
    ids, _ = draw(model, [6, 6])
    told, _ = draw(model, [3, 3])
    cache = model.new_cache(2, 6)
    with torch.no_grad():
        model(ids, decoder_input_ids=told, cache=cache)
        stored = cache.sources[0].content
        again = model(ids, decoder_input_ids=told, cache=cache).encoder_last_hidden_state
    assert cache.sources[0].content is stored
    assert again is cache.source.states
    with pytest.raises(InputError, match="with a filled cache, decoder_input_ids must be given"):
        model(ids, cache=cache)


@every_model
def test_several_targets_of_a_source_equal_that_source_repeated(name: str) -> None:
    model = MODELS[name]
    (ids, mask), (told, told_mask) = draw(model, [7, 4]), draw(model, [5, 3, 4, 2, 5, 1])
    target = {"decoder_input_ids": told, "decoder_attention_mask": told_mask}
    with torch.no_grad():
        shared = model(ids, mask, **target, output_attentions=True)
        repeated = model(ids.repeat_interleave(3, 0), mask.repeat_interleave(3, 0), **target, output_attentions=True)
    assert_near(shared.last_hidden_state, repeated.last_hidden_state)
    for one, other in zip(shared.cross_attentions, repeated.cross_attentions, strict=True):
        assert_near(one, other)


@every_model
@few
@given(place=st.integers(1, 9), seed=st.integers(0, 1000))
def test_later_target_tokens_never_change_earlier_outputs(name: str, place: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]
    (ids, mask), (told, _) = draw(model, [6, 4]), draw(model, [10, 10])
    other = told.clone()
    other[:, place:] = (told[:, place:] + 1) % model.config.vocab_size
    with torch.no_grad():
        before, after = (model(ids, mask, decoder_input_ids=t).last_hidden_state for t in (told, other))
    assert_near(after[:, :place], before[:, :place], 1e-6)
    assert (after[:, place:] - before[:, place:]).abs().amax(-1).gt(1e-4).all()


@every_model
def test_every_source_token_changes_every_output(name: str) -> None:
    model = MODELS[name]
    ids, told = draw(model, [6])[0], draw(model, [5])[0]
    with torch.no_grad():
        before = model(ids, decoder_input_ids=told).last_hidden_state
        for place in range(6):
            other = ids.clone()
            other[:, place] = (ids[:, place] + 1) % model.config.vocab_size
            after = model(other, decoder_input_ids=told).last_hidden_state
            assert (after - before).abs().amax(-1).gt(1e-6).all()


@every_model
def test_without_a_target_the_source_is_shifted(name: str) -> None:
    model = MODELS[name]
    ids, mask = draw(model, [6, 3], "left")
    shifted = model.shift_right(ids, mask)
    for row, real in enumerate(mask.bool()):
        alone = model.shift_right(ids[row : row + 1, real], mask[row : row + 1, real])
        assert torch.equal(shifted[row : row + 1, real], alone)
        assert torch.equal(alone[:, 1:], ids[row : row + 1, real][:, :-1])
    with torch.no_grad():
        implied = model(ids, mask).last_hidden_state
        told = model(ids, mask, decoder_input_ids=shifted, decoder_attention_mask=mask).last_hidden_state
    assert torch.equal(implied, told)


@pytest.mark.parametrize("name", ["t5-backbone", "bart-backbone", "pegasus-backbone", "m2m_100-backbone"])
def test_a_target_begins_with_the_start_token_and_what_is_not_counted_becomes_padding(name: str) -> None:
    model = MODELS[name]
    start, pad = model.config.decoder_start_token_id, model.config.pad_token_id
    labels = torch.tensor([[7, 8, 9, -100, -100], [5, 6, 7, 8, 9]])
    assert model.shift_right(labels).tolist() == [[start, 7, 8, 9, pad], [start, 5, 6, 7, 8]]


def test_without_a_start_token_a_target_is_asked_for() -> None:
    model = load_model(CHECKPOINTS / "bart-backbone")
    model.config.decoder_start_token_id = None
    with pytest.raises(InputError, match=r"bart model's config\.json names no decoder_start_token_id"):
        model(torch.ones(1, 3, dtype=torch.long))


@every_model
@pytest.mark.parametrize("offset", [0, 1000])
def test_a_target_token_beyond_the_embedding_is_named(name: str, offset: int) -> None:
    model = MODELS[name]
    beyond = model.config.vocab_size + offset
    with pytest.raises(InputError, match=rf"token id {beyond} is beyond the embedding"):
        model(torch.ones(1, 3, dtype=torch.long), decoder_input_ids=torch.tensor([[1, beyond]]))


@every_model
@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (1, 5), (3, 5), (5,), (2, 1, 5), (2, 1, 5, 5)])
def test_a_target_mask_of_another_shape_than_the_target_is_refused(name: str, shape: tuple[int, ...]) -> None:
    ids, told = torch.ones(2, 3, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(InputError) as error:
        MODELS[name](ids, decoder_input_ids=told, decoder_attention_mask=torch.ones(shape, dtype=torch.long))
    assert str(error.value) == f"decoder_attention_mask must have the shape [2, 5], got {list(shape)}"


def test_targets_that_are_no_multiple_of_the_sources_are_refused() -> None:
    ids, told = torch.ones(2, 3, dtype=torch.long), torch.ones(3, 5, dtype=torch.long)
    with pytest.raises(InputError, match="decoder_input_ids has 3 rows, which is no multiple of input_ids' 2"):
        MODELS["t5-backbone"](ids, decoder_input_ids=told)


def test_an_encoder_alone_takes_no_target() -> None:
    ids = torch.ones(2, 3, dtype=torch.long)
    model = load_model(CHECKPOINTS / "t5-token-classification")
    with pytest.raises(InputError, match="this t5 model is an encoder alone: it takes no decoder_input_ids"):
        model(ids, decoder_input_ids=ids)


CLASSIFIERS = ["t5-sequence-classification", "bart-sequence-classification", "mbart-sequence-classification"]
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


@every_classifier
def test_a_text_is_classified_at_its_last_end_token(name: str) -> None:
    model = load_model(CHECKPOINTS / name)
    end = model.config.eos_token_id
    text = torch.tensor([[7, end, 8, 9, end, 11, 12]])
    output = model(text)
    expected = model.head.out(model.head.dense(output.last_hidden_state[:, 4]).tanh())
    torch.testing.assert_close(output.logits, expected)
    # an end token in the padding is none
    padded, mask = torch.tensor([[7, end, 8, end]]), torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(model(padded, mask).logits, model(padded[:, :2]).logits)


@every_classifier
@pytest.mark.parametrize("masked", [False, True])
def test_a_text_without_an_end_token_is_not_classified(name: str, masked: bool) -> None:
    model = load_model(CHECKPOINTS / name)
    end = model.config.eos_token_id
    ids = torch.tensor([[7, 8, end, 9], [7, 8, 9, end if masked else 10]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]) if masked else None
    with pytest.raises(InputError, match=rf"row 1 of input_ids holds no end token \({end}\) to classify the text at"):
        model(ids, mask)


@every_classifier
def test_to_classify_source_and_target_are_as_long(name: str) -> None:
    model = load_model(CHECKPOINTS / name)
    ids = torch.full((2, 4), model.config.eos_token_id)
    assert model(ids, decoder_input_ids=ids).logits.shape == (2, len(model.config.labels))
    with pytest.raises(InputError, match=r"decoder_input_ids must have input_ids' shape \[2, 4\], got \[2, 3\]"):
        model(ids, decoder_input_ids=ids[:, :3])


@every_classifier
def test_where_the_config_names_no_end_token_the_last_one_is_read(name: str) -> None:
    model = load_model(CHECKPOINTS / name)
    model.config.eos_token_id = None
    ids, mask = torch.tensor([[7, 8, 9, 10]]), torch.tensor([[1, 1, 1, 0]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids, mask).logits, model(ids[:, :3]).logits)


@every_model
def test_depths_go_from_embeddings_over_both_stacks_to_the_final_norms(name: str) -> None:
    model = MODELS[name]
    names = {id(parameter): path for path, parameter in model.named_parameters()}
    depths = [[names[id(parameter)] for parameter in group] for group in model.parameter_groups_by_depth()]
    stacks = [("encoder", i) for i in range(len(model.encoder.layers))]
    stacks += [("decoder", i) for i in range(len(model.decoder.layers))]
    assert len(depths) == len(stacks) + 2
    for (stack, i), group in zip(stacks, depths[1:-1], strict=True):
        assert group
        assert all(path.startswith(f"{stack}.layers.{i}.") for path in group)
    assert "embeddings.token.weight" in depths[0]
    assert all("embedding" in path or "positions" in path for path in depths[0])
    assert all(path.startswith(("encoder.norm.", "decoder.norm.")) for path in depths[-1])


T5 = {"model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize("named", [None, ["T5Model"], ["T5ForConditionalGeneration"]])
def test_an_output_layer_of_its_own_is_kept_whatever_the_config_calls_the_file(
    named: list[str] | None, tmp_path: Path
) -> None:
    model = new_model({**T5, "tie_word_embeddings": False}, "seq2seq-lm")
    save_model(model, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["tie_word_embeddings"]
    values["architectures"] = named
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    loaded = load_model(tmp_path, "seq2seq-lm")
    assert torch.equal(loaded.head.decoder.weight, model.head.decoder.weight)
    assert not torch.equal(loaded.head.decoder.weight, loaded.embeddings.token.weight)


@pytest.mark.parametrize(("fields", "scale"), [({}, 0.25), ({"tie_word_embeddings": False}, 1.0)])
def test_a_config_made_by_hand_scales_as_a_file_does(fields: dict[str, Any], scale: float) -> None:
    values = {**T5, **fields}
    by_hand = T5Config(**{name: value for name, value in values.items() if name != "model_type"})
    for config in (values, by_hand):
        assert new_model(config, "seq2seq-lm").head.scale == scale


def test_mt5_never_scales() -> None:
    values = {**T5, "model_type": "mt5", "scale_decoder_outputs": True}
    assert new_model(values, "seq2seq-lm").head.scale == 1.0


def test_a_cache_of_other_texts_is_refused() -> None:
    ids = torch.ones(2, 3, dtype=torch.long)
    t5 = new_model(T5, "seq2seq-lm")
    with pytest.raises(InputError, match="the cache was made for 3 texts, not for 2: see new_cache"):
        t5(ids, decoder_input_ids=ids, cache=t5.new_cache(3, 5))
    cache = t5.new_cache(2, 5)
    t5(ids[:1], decoder_input_ids=ids[:, :1], cache=cache)
    with pytest.raises(InputError, match="the cache has read 1 sources, not 2"):
        t5(ids, decoder_input_ids=ids[:, :1], cache=cache)
    gpt2 = new_model({"model_type": "gpt2", "vocab_size": 9, "n_positions": 9, "n_embd": 4, "n_layer": 1, "n_head": 1})
    with pytest.raises(InputError, match="needs a cache from its own new_cache"):
        t5(ids, decoder_input_ids=ids, cache=gpt2.new_cache(2, 5))
    with pytest.raises(InputError, match="the cache was made for 3 texts, not for 2"):
        gpt2(ids, cache=gpt2.new_cache(3, 5))
