"""Greedy decoding against the model run anew for each token; sampling against the probabilities it draws from."""

import inspect
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from minitl_kernels.packed import can_pack
from torch import Tensor

from minitl.errors import InputError
from minitl.generation import generate
from minitl.generation import options as generation_options
from minitl.models.base import Model
from minitl.models.loading import new_model
from tests.generation.conftest import GPT2, LLAMA, POSITIONS, VOCABULARY


def prompts(batch: int, length: int) -> Tensor:
    return torch.randint(VOCABULARY, (batch, length))


def with_end(model: Model, end: int | list[int] | None, pad: int | None = None) -> Model:
    model.config = replace(model.config, eos_token_id=end, pad_token_id=pad)
    return model


def continued_without_cache(model: Model, ids: Tensor, new: int, penalty: float = 1.0) -> Tensor:
    """The definition of greedy decoding: read the whole text anew for each token."""
    for _ in range(new):
        with torch.no_grad():
            scores = model(ids).logits[:, -1]
        for row, text in enumerate(ids):
            for token in set(text.tolist()):
                score = scores[row, token]
                scores[row, token] = score / penalty if score > 0 else score * penalty
        ids = torch.cat((ids, scores.argmax(-1, keepdim=True)), dim=1)
    return ids


@pytest.mark.parametrize("penalty", [1.0, 1.7, 0.6])
def test_greedy_decoding_with_the_cache_equals_reading_the_text_anew(model: Model, penalty: float) -> None:
    ids = prompts(3, 5)
    assert torch.equal(
        generate(model, ids, max_new_tokens=12, repetition_penalty=penalty),
        continued_without_cache(model, ids, 12, penalty),
    )


@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_left_padding_and_its_token_change_nothing(model: Model, penalty: float) -> None:
    texts = [prompts(1, length) for length in (7, 3, 1)]
    ids, mask = torch.full((3, 7), 9), torch.zeros(3, 7, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, 7 - text.shape[1] :], mask[row, 7 - text.shape[1] :] = text, 1
    together = generate(model, ids, mask, max_new_tokens=10, repetition_penalty=penalty)
    for row, text in enumerate(texts):
        alone = generate(model, text, max_new_tokens=10, repetition_penalty=penalty)
        assert torch.equal(together[row, 7:], alone[0, text.shape[1] :])
    assert torch.equal(together[:, :7], ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_long_continuation_from_packed_weights_is_that_from_plain_ones(
    model: Model, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = model.to(dtype), prompts(2, 3)
    packed: list[bool] = []
    model.head.register_forward_pre_hook(lambda *_: packed.append("forward" in model.head.decoder.__dict__))
    long = generate(model, ids, max_new_tokens=32)
    assert packed == [can_pack(model.head.decoder.weight)] * 32
    monkeypatch.setattr(generation_options, "WORTH_PACKING", 33)
    assert torch.equal(generate(model, ids, max_new_tokens=32), long)
    assert packed[32:] == [False] * 32


def test_only_the_last_position_goes_through_the_head(model: Model) -> None:
    lengths: list[int] = []
    model.head.register_forward_pre_hook(lambda _, arguments: lengths.append(arguments[0].last_hidden_state.shape[1]))
    generate(model, prompts(2, 6), max_new_tokens=4)
    assert lengths == [1, 1, 1, 1]


@pytest.mark.parametrize("pad", [None, 7, -1, VOCABULARY])
def test_a_finished_row_is_filled_and_the_others_go_on(model: Model, pad: int | None) -> None:
    ids = prompts(6, 4)
    free = generate(model, ids, max_new_tokens=10)
    ends = [int(free[0, 6])]  # some token that the first row writes
    stopped = generate(with_end(model, ends[0], pad), ids, max_new_tokens=10)
    filler = pad if pad == 7 else ends[0]  # a config's -1 means none, and so does a token without a row
    written = []
    for row, wanted in zip(stopped[:, 4:].tolist(), free[:, 4:].tolist(), strict=True):
        length = wanted.index(ends[0]) + 1 if ends[0] in wanted else 10
        written.append(length)
        assert row == (wanted[:length] + [filler] * 10)[: len(row)]
    assert written[0] <= 3
    assert stopped.shape[1] == 4 + max(written)


def test_any_of_several_end_tokens_ends_a_row(gpt2: Model) -> None:
    ids = prompts(1, 4)
    free = generate(gpt2, ids, max_new_tokens=10)[0].tolist()
    absent = next(token for token in range(VOCABULARY) if token not in free[4:])
    stopped = generate(with_end(gpt2, [absent, free[6]]), ids, max_new_tokens=10)[0].tolist()
    assert stopped == free[: free.index(free[6], 4) + 1]


def test_one_seed_gives_one_text_and_leaves_other_random_numbers_alone(model: Model) -> None:
    ids = prompts(2, 4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = generate(model, ids, max_new_tokens=12, do_sample=True, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, generate(model, ids, max_new_tokens=12, do_sample=True, seed=1))
    assert not torch.equal(first, generate(model, ids, max_new_tokens=12, do_sample=True, seed=2))


def test_without_a_seed_torchs_own_governs_the_draws(gpt2: Model) -> None:
    texts = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        texts.append(generate(gpt2, torch.tensor([[1, 2]]), max_new_tokens=20, do_sample=True))
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_sampling_from_one_candidate_is_greedy(model: Model) -> None:
    ids = prompts(2, 4)
    greedy = generate(model, ids, max_new_tokens=8)
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        assert torch.equal(generate(model, ids, max_new_tokens=8, do_sample=True, seed=0, **narrow), greedy), narrow


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, None, None), (2.5, None, None), (2.5, 5, None), (2.5, None, 0.7)]
)
def test_draws_follow_the_models_probabilities(
    gpt2: Model, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    ids, draws = prompts(1, 4), 20_000
    shape = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    drawn = generate(gpt2, ids.expand(draws, -1), max_new_tokens=1, do_sample=True, seed=0, **shape)[:, -1]
    with torch.no_grad():
        probabilities = (gpt2(ids).logits[0, -1] / temperature).softmax(-1)
    ranked, order = probabilities.sort(descending=True)
    kept = top_k or VOCABULARY
    if top_p is not None:  # as many as it takes to reach top_p
        kept = 1 + next(i for i in range(VOCABULARY) if float(ranked[: i + 1].sum()) >= top_p)
    expected = torch.zeros(VOCABULARY)
    expected[order[:kept]] = ranked[:kept] / ranked[:kept].sum()
    frequencies = drawn.bincount(minlength=VOCABULARY) / draws
    assert (frequencies[expected == 0] == 0).all()
    assert (frequencies - expected).abs().max() < 5 * 0.5 / draws**0.5  # five standard deviations at most


def test_the_result_may_be_trained_on(gpt2: Model) -> None:
    ids = generate(gpt2, prompts(1, 3), max_new_tokens=3)
    gpt2(ids).logits.sum().backward()
    assert gpt2.embeddings.token.weight.grad is not None


def test_a_text_may_fill_the_table_of_positions_and_not_outgrow_it(gpt2: Model) -> None:
    ids = prompts(1, 10)
    assert generate(gpt2, ids, max_new_tokens=POSITIONS - 10).shape == (1, POSITIONS)
    with pytest.raises(InputError, match=r"10 tokens and max_new_tokens=31 make 41.* gpt2 .*positions for 40"):
        generate(gpt2, ids, max_new_tokens=POSITIONS - 9)


def test_rotary_positions_have_no_end() -> None:
    llama = new_model(LLAMA | {"max_position_embeddings": 8}, "causal-lm")
    assert generate(llama, prompts(1, 6), max_new_tokens=10).shape == (1, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": -1.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, got 1.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"num_beams": 16}, "num_beams=16 looks at 32 next tokens, but the vocabulary has 31"),
        ({"num_beams": 2, "do_sample": True}, "num_beams above 1 looks for the likeliest text; do_sample draws"),
        ({"early_stopping": "always"}, 'early_stopping must be True, False or "never", got always'),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be at least 0"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens must be between 0 and max_new_tokens, got 5"),
        ({"forced_bos_token_id": 31}, "forced_bos_token_id 31 is not in the vocabulary, which has ids 0 to 30"),
        ({"forced_eos_token_id": -1}, "forced_eos_token_id -1 is not in the vocabulary"),
        ({"decoder_start_token_id": 3}, "a gpt2 model has no decoder_start_token_id: it continues its prompt"),
        ({"stop_strings": ["x"]}, "give the tokenizer, too"),
        ({"stop_strings": [""], "tokenizer": object()}, "no empty string"),
        ({"stop_strings": "."}, r"stop_strings must be a list of strings, got '\.'"),
        ({"stop_strings": [b"."]}, "stop_strings must be a list of strings"),
        ({"max_new_tokens": 2.0}, r"max_new_tokens must be an integer, got 2\.0"),
        ({"max_new_tokens": True}, "max_new_tokens must be an integer, got True"),
        ({"num_beams": "2"}, "num_beams must be an integer, got '2'"),
        ({"top_k": 2.5}, r"top_k must be an integer or null, got 2\.5"),
        ({"top_p": "0.5"}, "top_p must be a number or null"),
        ({"seed": 2**70, "do_sample": True}, "seed must be at least 0 and below 2"),
        ({"length_penalty": 1e6}, "length_penalty must be between -10 and 10"),
        ({"length_penalty": float("nan")}, "length_penalty must be between -10 and 10"),
        ({"forced_eos_token_id": [2]}, "forced_eos_token_id must be an integer or null"),
    ],
)
def test_arguments_out_of_range_are_named(gpt2: Model, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(gpt2, prompts(1, 3), **arguments)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[]], None, "input_ids holds no token"),
        ([[1, 2], [3, 4]], [[1, 1], [0, 0]], "the text of row 1 is empty"),
        ([[1, 2], [3, 4]], [[1, 1], [1, 0]], "row 1 has padding after its text: pad prompts on the left"),
        ([[1, 2, 3]], [[1, 0, 1]], "row 0 has padding after its text"),
        ([[1, 2, 3]], [[1, 1]], r"attention_mask must be \[batch, length\] like input_ids, \[1, 3\], got \[1, 2\]"),
        ([[1, 99]], None, "token id 99 is beyond the embedding"),
        ([], None, r"must be integers \[batch, length\]"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused(gpt2: Model, ids: list, mask: list | None, message: str) -> None:
    attention_mask = None if mask is None else torch.tensor(mask)
    with pytest.raises(InputError, match=message):
        generate(gpt2, torch.tensor(ids, dtype=torch.long), attention_mask, max_new_tokens=4)


def test_every_option_is_an_argument_is_handed_on_and_is_explained(
    gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[generation_options.Options] = []

    def prepare(*given: Any) -> None:
        asked.append(given[-1])
        raise InputError("enough")

    monkeypatch.setattr(sys.modules[generate.__module__], "prepare", prepare)
    taken = inspect.signature(generate).parameters.values()
    arguments = {p.name: p.default for p in taken if p.kind is p.KEYWORD_ONLY}
    given: dict[str, Any] = {name: object() for name in arguments}
    for chosen in ({}, given):
        with pytest.raises(InputError, match="enough"):
            generate(gpt2, torch.ones(1, 1), **chosen)
    assert vars(asked[0]) == arguments == vars(generation_options.Options())
    assert vars(asked[1]) == given
    assert all(name in (generation_options.Options.__doc__ or "") for name in arguments)


def test_a_model_without_the_head_is_refused() -> None:
    with pytest.raises(InputError, match=r'"causal-lm" or "seq2seq-lm" head; this gpt2 model has the task "backbone"'):
        generate(new_model(GPT2), prompts(1, 3))


@pytest.mark.parametrize("beams", [1, 2])
def test_a_batch_without_texts_is_refused(any_model: Model, beams: int) -> None:
    with pytest.raises(InputError, match="input_ids holds no text: a batch needs at least one row"):
        generate(any_model, torch.ones(0, 3, dtype=torch.long), max_new_tokens=2, num_beams=beams)


def test_ids_that_are_no_tensor_are_refused(any_model: Model) -> None:
    with pytest.raises(InputError, match=r"input_ids must be a tensor of integers .*, got list"):
        generate(any_model, [[1, 2]], max_new_tokens=2)  # type: ignore[arg-type]


def test_a_source_of_padding_alone_is_refused(t5: Model) -> None:
    with pytest.raises(InputError, match="the text of row 1 is empty"):
        generate(t5, torch.ones(2, 3, dtype=torch.long), torch.tensor([[1, 1, 1], [0, 0, 0]]), max_new_tokens=2)


BART = {"model_type": "bart", "vocab_size": VOCABULARY, "d_model": 8, "max_position_embeddings": 12}
BART |= dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
BART |= {"encoder_ffn_dim": 8, "decoder_ffn_dim": 8}


def test_sources_and_targets_have_their_own_positions() -> None:
    bart = new_model(BART, "seq2seq-lm")
    assert generate(bart, prompts(1, 12), max_new_tokens=11, min_new_tokens=11).shape == (1, 12)
    with pytest.raises(InputError, match="the start token and max_new_tokens=12 make 13; this bart model has"):
        generate(bart, prompts(1, 3), max_new_tokens=12)
    with pytest.raises(InputError, match="a source of 13 tokens: this bart model has positions for 12; cut it"):
        generate(bart, prompts(1, 13), max_new_tokens=2)
    mask = torch.tensor([[0] * 3 + [1] * 11])
    assert generate(bart, prompts(1, 14), mask, max_new_tokens=2).shape[1] <= 3  # padding takes no position


def test_layers_that_training_leaves_out_all_run_while_a_cache_is_filled() -> None:
    model = new_model({**BART, "model_type": "m2m_100", "decoder_layerdrop": 0.9, "dropout": 0.0}, "seq2seq-lm").eval()
    ids = prompts(2, 4)
    expected = generate(model, ids, max_new_tokens=6)
    model.config.encoder_layerdrop = 0.0
    model.decoder.train()
    assert torch.equal(generate(model, ids, max_new_tokens=6), expected)


@pytest.mark.parametrize("given", [False, True], ids=["the config's", "given"])
def test_ends_and_padding_without_a_row_do_not_exist(gpt2: Model, given: bool) -> None:
    ids = prompts(2, 4)
    free = generate(gpt2, ids, max_new_tokens=6)
    end = int(free[0, 6])
    ends = [99, end, -1]
    model = with_end(gpt2, None if given else ends, pad=99)
    stopped = generate(model, ids, max_new_tokens=6, min_new_tokens=2, eos_token_id=ends if given else None)
    assert (stopped[0, 4:] == end).any()
    assert int(stopped.max()) < VOCABULARY
    assert int(stopped.min()) >= 0


def test_a_penalty_does_not_fall_on_the_token_that_pads(gpt2: Model) -> None:
    favourite = int(generate(gpt2, torch.tensor([[1, 2]]), max_new_tokens=1)[0, -1])
    assert favourite not in (1, 2)
    ids, mask = torch.tensor([[favourite, favourite, 1, 2]]), torch.tensor([[0, 0, 1, 1]])
    assert int(generate(gpt2, ids, mask, max_new_tokens=1, repetition_penalty=1e6)[0, -1]) == favourite
    assert int(generate(gpt2, ids, max_new_tokens=1, repetition_penalty=1e6)[0, -1]) != favourite


@pytest.mark.parametrize("beams", [1, 2])
def test_rules_that_leave_nothing_to_write_are_an_error(gpt2: Model, beams: int) -> None:
    ids = torch.arange(28)[None]  # of 31 tokens, each once
    assert generate(gpt2, ids, max_new_tokens=3, num_beams=beams, no_repeat_ngram_size=1).shape == (1, 31)
    with pytest.raises(InputError, match=r"after 3 tokens .* none"):
        generate(gpt2, ids, max_new_tokens=4, num_beams=beams, no_repeat_ngram_size=1)


def test_draws_from_what_is_no_distribution_are_an_error(gpt2: Model) -> None:
    with pytest.raises(InputError, match=r"no token can be drawn: .*temperature=1e-40 are no finite numbers"):
        generate(gpt2, prompts(1, 3), max_new_tokens=2, do_sample=True, temperature=1e-40)


@pytest.mark.parametrize("penalty", [-10.0, 10.0])
def test_beams_keep_their_text_under_any_penalty(any_model: Model, penalty: float) -> None:
    any_model.config = replace(any_model.config, eos_token_id=4)
    text = generate(any_model, prompts(2, 3), max_new_tokens=12, num_beams=3, length_penalty=penalty)
    assert text.shape[1] > (1 if any_model.task == "seq2seq-lm" else 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_long_texts_are_written_under_autocast_too(any_model: Model, dtype: torch.dtype) -> None:
    ids = prompts(2, 3)
    with torch.autocast("cpu", dtype):
        long, short = (generate(any_model, ids, max_new_tokens=count) for count in (32, 8))
    assert torch.equal(long[:, : short.shape[1]], short)
