"""The families against the peer library, live: freshly drawn configurations, forward, backward and in both directions.

Runs where the peer library is installed beside minitl: `make test-reference`.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl.checkpoints.weights import open_weights
from minitl.generation import generate
from minitl.models.loading import load_model, new_model, save_model
from tests.reference import comparison

pytestmark = pytest.mark.reference
transformers = pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")

from tests.reference import peer  # noqa: E402 - it imports transformers, which may be absent

DRAWS = range(10)
PAIRS = [(family, task) for family, tasks in peer.TASKS.items() for task in tasks]
every_head = pytest.mark.parametrize(("family", "task"), PAIRS)
every_draw = pytest.mark.parametrize("draw", DRAWS)
decoders = pytest.mark.parametrize("family", peer.DECODERS)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


def drawn(family: str, task: str, draw: int) -> tuple[random.Random, dict[str, Any]]:
    """The dice of one test case and the configuration they fell on."""
    torch.manual_seed(draw)
    dice = random.Random(f"{family} {task} {draw}")
    return dice, peer.draw_fields(family, task, dice)


def draw_lengths(dice: random.Random) -> list[int]:
    return [dice.randint(2, 12), dice.randint(1, 12), dice.randint(1, 12)]


@every_draw
@every_head
def test_outputs_loss_and_gradients_equal_the_peers(family: str, task: str, draw: int, tmp_path: Path) -> None:
    dice, fields = drawn(family, task, draw)
    theirs = peer.build(family, task, fields)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert ours.task == task
    for side in peer.sides(family, task):
        lengths = draw_lengths(dice)
        inputs = peer.draw_inputs(theirs, lengths, side)
        errors = comparison.output_errors(comparison.outputs(ours, inputs), peer.outputs(theirs, inputs), inputs)
        comparison.assert_below(errors, 1e-4)

        inputs = peer.draw_inputs(theirs, peer.training_lengths(task, lengths), side)
        targets = peer.draw_targets(theirs, task, inputs)
        expected_loss, expected = peer.loss_and_gradients(theirs, inputs, targets)
        loss, gradients = comparison.loss_and_gradients(ours, inputs, targets)
        # A backbone's loss, a sum of terms of both signs, may come out near 0: then 1 is the scale.
        assert abs(float(loss - expected_loss)) < 1e-4 * max(1.0, abs(float(expected_loss)))
        comparison.assert_below(comparison.gradient_errors(ours, gradients, expected), 1e-4)


@every_draw
@every_head
def test_saved_models_give_the_peer_identical_outputs(family: str, task: str, draw: int, tmp_path: Path) -> None:
    dice, fields = drawn(family, task, draw)
    ours = new_model({"model_type": family, **peer.NO_DROPOUT[family], **fields}, task)
    peer.scatter(ours)
    save_model(ours, tmp_path)
    theirs, info = peer.model_class(family, task).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    assert not info["unexpected_keys"]
    inputs = peer.draw_inputs(theirs, draw_lengths(dice), dice.choice(peer.sides(family, task)))
    errors = comparison.output_errors(comparison.outputs(ours, inputs), peer.outputs(theirs, inputs), inputs)
    comparison.assert_below(errors, 1e-5)


@every_head
def test_a_checkpoint_of_the_peers_comes_back_bit_for_bit(family: str, task: str, tmp_path: Path) -> None:
    _, fields = drawn(family, task, draw=0)
    theirs = peer.build(family, task, fields)
    theirs.save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    before, after = open_weights(tmp_path / "theirs"), open_weights(tmp_path / "ours")
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    config = type(theirs.config)
    given, kept = (config.from_pretrained(tmp_path / folder).to_diff_dict() for folder in ("theirs", "ours"))
    assert {field: kept[field] for field in given} == given


@every_draw
@decoders
def test_greedy_continuations_of_left_padded_prompts_equal_the_peers(family: str, draw: int, tmp_path: Path) -> None:
    dice, fields = drawn(family, "causal-lm", draw)
    theirs = peer.build(family, "causal-lm", fields)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    lengths = [dice.randint(1, 8) for _ in range(4)]
    inputs = peer.draw_inputs(theirs, lengths, "left")
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    end = fields["eos_token_id"]
    for _ in range(2):
        expected = theirs.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=fields["pad_token_id"],
        )
        ours.config = replace(ours.config, eos_token_id=end)
        assert generate(ours, ids, mask, max_new_tokens=8).tolist() == expected.tolist()
        # Once more, with an end that at least one text comes to.
        end = int(expected[0, min(ids.shape[1] + 2, expected.shape[1] - 1)])


@every_draw
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("family", [*peer.DECODERS, *peer.ENCODER_DECODERS])
def test_texts_equal_the_peers_under_every_rule(family: str, beams: int, draw: int, tmp_path: Path) -> None:
    task = "causal-lm" if family in peer.DECODERS else "seq2seq-lm"
    dice, fields = drawn(family, task, draw)
    theirs = peer.build(family, task, fields)
    theirs.save_pretrained(tmp_path)
    theirs.generation_config.forced_eos_token_id = None  # some configurations have one by default
    ours = load_model(tmp_path)
    if family == "m2m_100":  # in the peer's, padding's id has no position of its own, even where it was written as text
        pad = torch.tensor([fields["pad_token_id"]])
        for decoder in (theirs.lm_head, ours.head.decoder):
            decoder.register_forward_hook(lambda _m, _i, logits: logits.index_fill(-1, pad, -1e4))
    lengths = [dice.randint(2, 8) for _ in range(3)]
    inputs = peer.draw_inputs(theirs, lengths, "left" if family in peer.DECODERS else "right")
    end, new = fields["eos_token_id"], 9
    for turn in range(3):
        options = draw_options(dice, beams, new, fields["vocab_size"], task)
        if options.get("forced_bos_token_id") == fields["pad_token_id"]:
            del options["forced_bos_token_id"]
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if task == "causal-lm" and "no_repeat_ngram_size" in options:  # the peer counts padding among the n-grams
            ids, mask = ids[:, -min(lengths) :], mask[:, -min(lengths) :]
        expected = theirs.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=fields["pad_token_id"],
            use_cache=task == "causal-lm",  # the peer's has the encoder's depth, whatever the decoder's
            **options,
        )
        ours.config = replace(ours.config, eos_token_id=end)
        texts = generate(ours, ids, mask, max_new_tokens=new, **options)
        start = 1 if task == "seq2seq-lm" else ids.shape[1]
        assert up_to_end(texts, start, end) == up_to_end(expected, start, end), (turn, options)
        # Once more, with an end that at least one text comes to.
        end = int(expected[0, min(start + 2, expected.shape[1] - 1)])


def draw_options(dice: random.Random, beams: int, new: int, vocabulary: int, task: str) -> dict[str, Any]:
    """Options that both libraries know under the same name."""
    options: dict[str, Any] = {"num_beams": beams}
    if dice.random() < 0.5:
        options["no_repeat_ngram_size"] = dice.randint(1, 3)
    if dice.random() < 0.5:
        options["repetition_penalty"] = dice.choice([0.8, 1.3])
    if dice.random() < 0.5:
        options["min_new_tokens"] = dice.randint(1, new - 1)
    if dice.random() < 0.5 and task == "seq2seq-lm":  # the peer forces the first token of one-token prompts only
        options["forced_bos_token_id"] = dice.randrange(vocabulary)
    if dice.random() < 0.3:
        options["forced_eos_token_id"] = dice.randrange(vocabulary)
    if beams > 1:
        options["length_penalty"] = dice.choice([-1.0, 0.0, 0.6, 1.0, 2.0])
        options["early_stopping"] = dice.choice([False, True, "never"])
    return options


def up_to_end(ids: torch.Tensor, start: int, end: int) -> list[list[int]]:
    """Each text up to its end token; behind it the peer's beam search fills with the end token where padding is 0."""
    rows = ids.tolist()
    return [row[: row.index(end, start) + 1] if end in row[start:] else row for row in rows]


@pytest.mark.parametrize("hidden", [12, 15])
def test_waves_that_files_store_are_made_as_the_peers_are(hidden: int) -> None:
    fields = {"d_model": hidden, "encoder_attention_heads": 3, "decoder_attention_heads": 3, "encoder_layers": 1}
    fields |= {"decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 600}
    fields["vocab_size"] = 40
    theirs = peer.model_class("pegasus", "backbone")(transformers.PegasusConfig(**fields))
    ours = new_model({"model_type": "pegasus", **fields})
    assert torch.equal(ours.encoder.positions.weight, theirs.encoder.embed_positions.weight)
    assert torch.equal(ours.decoder.positions.weight, theirs.decoder.embed_positions.weight)


def test_texts_beyond_the_peers_first_table_of_waves_come_out_alike(tmp_path: Path) -> None:
    dice, fields = drawn("m2m_100", "backbone", draw=0)
    theirs = peer.build("m2m_100", "backbone", fields | {"max_position_embeddings": 16})
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    for side in ("right", "left"):
        inputs = peer.draw_inputs(theirs, [dice.randint(30, 40), dice.randint(1, 40), 25], side)
        errors = comparison.output_errors(comparison.outputs(ours, inputs), peer.outputs(theirs, inputs), inputs)
        comparison.assert_below(errors, 1e-4)


def test_minilm_gives_the_peers_hidden_states(minilm: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    texts = [
        "A short text.",
        "Rivers carve their valleys over thousands of years, grain by grain.",
        "Naïve café 東京 🙂",
    ]
    inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    theirs = AutoModel.from_pretrained(minilm, attn_implementation="eager")
    errors = comparison.output_errors(
        comparison.outputs(load_model(minilm), inputs), peer.outputs(theirs, inputs), inputs
    )
    assert len(errors) == 15  # 7 hidden states, 6 attention maps, the last hidden state and the pooled vector
    comparison.assert_below(errors, 1e-5)


def test_the_stored_references_are_what_the_tool_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    from tests.reference import make_checkpoints

    stored = make_checkpoints.FOLDER
    monkeypatch.setattr(make_checkpoints, "FOLDER", tmp_path)
    name = "llama-causal-lm-tied"
    make_checkpoints.make(name)
    for file in ("model.safetensors", "expected.safetensors"):
        fresh, old = load_file(tmp_path / name / file), load_file(stored / name / file)
        assert set(fresh) == set(old)
        for key, tensor in old.items():
            torch.testing.assert_close(fresh[key], tensor, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
