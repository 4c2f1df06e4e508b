"""BART, mBART, Pegasus and M2M100: what their published files differ in, what their configs say, and when they drop."""

import itertools
import logging
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minitl.checkpoints.weights import SINGLE
from minitl.errors import CheckpointError, ConfigError, InputError
from minitl.models.base import Model
from minitl.models.loading import load_model, new_model, save_model
from tests.models.saved import assert_same, rewrite, rewrite_config

SIZES: dict[str, Any] = {
    "vocab_size": 24,
    "d_model": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 10,
    "max_position_embeddings": 16,
}
FAMILIES = ["bart", "mbart", "pegasus", "m2m_100"]
every_family = pytest.mark.parametrize("family", FAMILIES)
with_bias = pytest.mark.parametrize("family", ["bart", "mbart", "pegasus"])
IDS = torch.tensor([[5, 6, 7, 8, 2]])


@pytest.fixture(autouse=True)
def _announcements_are_heard(caplog):
    caplog.set_level(logging.WARNING, "minitl")


def random_model(family: str, task: str = "backbone", **fields: Any) -> Model:
    """Everything that files hold away from 0 and 1."""
    model = new_model({"model_type": family, **SIZES, **fields}, task)
    with torch.no_grad():
        for _, tensor in model.stored():
            tensor.normal_(0.0, 0.5)
    return model.eval()


def save(tmp_path, family: str, task: str = "backbone", **fields: Any):
    model = random_model(family, task, **fields)
    save_model(model, tmp_path / "saved")
    return model, tmp_path / "saved"


# --- published files -------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("task", ["backbone", "seq2seq-lm"])
@pytest.mark.parametrize("kept", ["encoder.embed_tokens", "decoder.embed_tokens", "both"])
def test_the_embedding_is_found_under_each_of_its_names(family, task, kept, tmp_path, caplog):
    model, folder = save(tmp_path, family, task)
    prefix = "" if task == "backbone" else "model."

    def rename(tensors):
        table = tensors.pop(f"{prefix}shared.weight")
        names = ("encoder.embed_tokens", "decoder.embed_tokens") if kept == "both" else (kept,)
        tensors.update({f"{prefix}{name}.weight": table.clone() for name in names})

    rewrite(folder, rename)
    assert_same(load_model(folder), model)
    assert caplog.text == ""


def test_copies_of_the_embedding_that_differ_are_refused(tmp_path):
    _, folder = save(tmp_path, "bart")
    rewrite(folder, lambda tensors: tensors.update({"decoder.embed_tokens.weight": torch.ones(24, 8)}))
    with pytest.raises(CheckpointError, match="are one tensor in this model, but differ there"):
        load_model(folder)


@every_family
def test_the_output_layer_may_be_all_there_is_of_the_embedding(family, tmp_path):
    model, folder = save(tmp_path, family, "seq2seq-lm")
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors.pop("model.shared.weight")}))
    assert_same(load_model(folder), model)


@every_family
@pytest.mark.parametrize("task", ["backbone", "seq2seq-lm"])
def test_the_prefix_may_be_there_or_not(family, task, tmp_path):
    model, folder = save(tmp_path, family, task)
    names = load_file(folder / SINGLE)
    assert any(name.startswith("model.") for name in names) is (task != "backbone")

    def turn(tensors):
        if task == "backbone":
            return {f"model.{name}": tensor for name, tensor in tensors.items()}
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}

    rewrite(folder, turn)
    assert_same(load_model(folder), model)


@every_family
@pytest.mark.parametrize("prefix", ["", "model."])
def test_fairseqs_version_numbers_are_dropped(family, prefix, tmp_path):
    model, folder = save(tmp_path, family)
    versions = {f"{prefix}{stack}.version": torch.tensor([3.0]) for stack in ("encoder", "decoder")}
    rewrite(folder, lambda tensors: tensors.update(versions))
    assert_same(load_model(folder), model)
    rewrite(folder, lambda tensors: tensors.update({"encoder.layers.0.version": torch.tensor([3.0])}))
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.0\.version: unexpected"):
        load_model(folder)


@with_bias
def test_a_missing_bias_of_the_output_layer_is_zero(family, tmp_path, caplog):
    model, folder = save(tmp_path, family, "seq2seq-lm")
    assert load_file(folder / SINGLE)["final_logits_bias"].shape == (1, 24)
    assert torch.equal(load_model(folder).head.bias, model.head.bias)
    rewrite(folder, lambda tensors: tensors.pop("final_logits_bias") is None)
    loaded = load_model(folder)
    assert loaded.head.bias.eq(0).all()
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits - model.head.bias)
    assert caplog.text == ""


@with_bias
def test_a_backbone_writes_with_its_embedding_and_nothing_is_new(family, tmp_path, caplog):
    model, folder = save(tmp_path, family)
    loaded = load_model(folder, "seq2seq-lm")
    assert loaded.head.decoder.weight is loaded.embeddings.token.weight
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).last_hidden_state @ model.embeddings.token.weight.T)
    assert caplog.text == ""


def test_an_output_layer_of_its_own_is_new_and_said_to_be(tmp_path, caplog):
    _, folder = save(tmp_path, "bart", tie_word_embeddings=False)
    loaded = load_model(folder, "seq2seq-lm")
    assert caplog.text.rstrip().endswith("new and untrained, not from the checkpoint: head.decoder")
    assert loaded.head.decoder.weight is not loaded.embeddings.token.weight
    assert loaded.head.bias.eq(0).all()


def test_a_language_model_becomes_a_classifier(tmp_path, caplog):
    model, folder = save(tmp_path, "bart", "seq2seq-lm")
    loaded = load_model(folder, "sequence-classification", labels=["no", "yes"])
    assert loaded(IDS).logits.shape == (1, 2)
    assert caplog.text.rstrip().endswith("not from the checkpoint: head.dense, head.out")
    assert torch.equal(loaded.encoder.positions.weight, model.encoder.positions.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pegasus_table_of_waves_is_read_or_made_and_never_learned(dtype, tmp_path, caplog):
    model, folder = save(tmp_path, "pegasus", "seq2seq-lm")
    assert torch.equal(load_model(folder).encoder.positions.weight, model.encoder.positions.weight)
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "embed_positions" not in n})
    loaded = load_model(folder, dtype=dtype)
    fresh = new_model(model.config, "seq2seq-lm", dtype=dtype)
    for stack in ("encoder", "decoder"):
        made = loaded.get_submodule(stack).positions.weight
        assert made.dtype == dtype
        assert torch.equal(made, fresh.get_submodule(stack).positions.weight)
        assert made[0].tolist() == [0.0] * 4 + [1.0] * 4
    assert not any("positions" in name for name, _ in loaded.named_parameters())
    assert caplog.text == ""


def test_m2m100s_files_hold_no_waves_and_may(tmp_path):
    model, folder = save(tmp_path, "m2m_100", "seq2seq-lm")
    assert not any("positions" in name or "bias" in name.split(".")[0] for name in load_file(folder / SINGLE))
    old = {f"model.{stack}.embed_positions.weights": torch.ones(18, 8) for stack in ("encoder", "decoder")}
    rewrite(folder, lambda tensors: tensors.update(old))
    assert_same(load_model(folder), model)


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "labels"), [("bart", 3), ("mbart", 2)])
def test_a_classifier_whose_config_names_no_labels_has_the_familys_number(family, labels, tmp_path):
    model, folder = save(tmp_path, family, "sequence-classification")
    rewrite_config(folder, id2label=..., label2id=...)
    loaded = load_model(folder)
    assert loaded.config.labels == [f"LABEL_{i}" for i in range(labels)]
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_an_entailment_checkpoint_keeps_its_labels(tmp_path):
    names = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    model, folder = save(tmp_path, "bart", "sequence-classification", id2label=names)
    loaded = load_model(folder)
    assert loaded.task == "sequence-classification"
    assert loaded.config.labels == list(names.values())
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


HEADS = ("encoder_attention_heads", "decoder_attention_heads")


@every_family
@pytest.mark.parametrize("name", HEADS)
def test_heads_that_do_not_divide_the_hidden_size_are_refused(family, name):
    with pytest.raises(ConfigError, match=rf"field 'd_model' \(8\) must be a multiple of '{name}' \(3\)"):
        new_model({"model_type": family, **SIZES, name: 3})


@every_family
def test_an_unknown_activation_is_refused(family):
    with pytest.raises(ConfigError, match=r"field 'activation_function' must be one of .*, got 'mish'"):
        new_model({"model_type": family, **SIZES, "activation_function": "mish"})


def test_m2m100_needs_two_waves_and_an_id_for_padding():
    with pytest.raises(ConfigError, match="field 'd_model' must be at least 4, for two waves, got 2"):
        new_model({"model_type": "m2m_100", **SIZES, "d_model": 2, **dict.fromkeys(HEADS, 1)})
    with pytest.raises(ConfigError, match="field 'pad_token_id' must be an integer"):
        new_model({"model_type": "m2m_100", **SIZES, "pad_token_id": None})


@every_family
def test_scaled_embeddings_count_times_the_root_of_the_hidden_size(family):
    plain, scaled = (random_model(family, scale_embedding=scale).embeddings for scale in (False, True))
    scaled.token.weight = plain.token.weight
    torch.testing.assert_close(scaled(IDS), plain(IDS) * 8**0.5)


# --- texts -----------------------------------------------------------------------------------------------------------


@with_bias
def test_a_text_longer_than_the_positions_is_refused_by_its_length(family):
    model = random_model(family)
    short, long = torch.full((1, 16), 5), torch.full((1, 17), 5)
    assert model.position_limit == 16
    assert model(short, decoder_input_ids=short).last_hidden_state.shape == (1, 16, 8)
    for inputs in ({"input_ids": long, "decoder_input_ids": short}, {"input_ids": short, "decoder_input_ids": long}):
        with pytest.raises(InputError, match="a text of 17 tokens is too long: this model has positions for 16"):
            model(**inputs)
    # padding is no text
    mask = torch.ones(1, 17, dtype=torch.long)
    mask[0, 3] = 0
    assert model(long, mask, decoder_input_ids=short).last_hidden_state.isfinite().all()


def test_m2m100_reads_texts_of_any_length():
    model = random_model("m2m_100")
    assert model.position_limit is None
    long = torch.full((1, 40), 5)
    assert model(long, decoder_input_ids=long).last_hidden_state.shape == (1, 40, 8)


def test_mbarts_target_begins_with_the_last_token_of_each_text():
    model = random_model("mbart")
    pad = model.config.pad_token_id
    labels = torch.tensor([[7, 8, 2, 20, -100], [5, 6, 7, 2, 21]])
    assert model.shift_right(labels).tolist() == [[20, 7, 8, 2, 20], [21, 5, 6, 7, 2]]
    text = torch.tensor([[5, 2, pad]])  # padding is what the mask says
    with torch.no_grad():
        implied = model(text).last_hidden_state
        told = model(text, decoder_input_ids=torch.tensor([[pad, 5, 2]])).last_hidden_state
    assert torch.equal(implied, told)
    padded, mask = torch.tensor([[pad, pad, 5, 2, 20]]), torch.tensor([[0, 0, 1, 1, 1]])
    assert model.shift_right(padded, mask)[0, 2:].tolist() == [20, 5, 2]


# --- dropping --------------------------------------------------------------------------------------------------------

RATES = ["dropout", "attention_dropout", "activation_dropout", "classifier_dropout"]
NONE = dict.fromkeys([*RATES, "encoder_layerdrop", "decoder_layerdrop"], 0.0)


@pytest.mark.parametrize("family", ["bart", "mbart"])
@pytest.mark.parametrize("rate", [None, *NONE])
def test_each_rate_drops_in_training_mode_alone(family, rate):
    model = random_model(family, "sequence-classification", **NONE | ({rate: 0.5} if rate else {}))
    with torch.no_grad():
        whole = model(IDS).logits
        assert torch.equal(model(IDS).logits, whole)
        changed = [not torch.equal(model.train()(IDS).logits, whole) for _ in range(20)]
    assert any(changed) is (rate is not None)


@every_family
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_layer_is_left_out_in_training_as_often_as_the_config_says(family, stack):
    model = random_model(family, **NONE | {f"{stack}_layers": 40, f"{stack}_layerdrop": 0.25}).train()
    prefix = "encoder_" if stack == "encoder" else ""
    with torch.no_grad():
        states = getattr(model(IDS, output_hidden_states=True), f"{prefix}hidden_states")
        assert len(states) == 41
        left_out = sum(torch.equal(a, b) for a, b in itertools.pairwise(states[:-1]))
        assert 1 <= left_out <= 25  # of 39; beyond either bound less than once in ten thousand draws
        states = getattr(model.eval()(IDS, output_hidden_states=True), f"{prefix}hidden_states")
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(states[:-1]))


def test_m2m100_leaves_out_layers_where_the_config_does_not_say_otherwise():
    config = new_model({"model_type": "m2m_100", **SIZES}).config
    assert (config.encoder_layerdrop, config.decoder_layerdrop) == (0.05, 0.05)
    config = new_model({"model_type": "bart", **SIZES}).config
    assert (config.encoder_layerdrop, config.decoder_layerdrop) == (0.0, 0.0)
