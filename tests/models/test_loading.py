"""There and back: what was saved loads as it was, under another task or type; config.json; new models."""

import copy
import json
import logging

import pytest
import torch

from minitl.checkpoints.weights import INDEX, SINGLE
from minitl.errors import CheckpointError, ConfigError
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.registry import family_names
from tests.models.saved import (
    BERT,
    CASES,
    CONFIGS,
    GPT2,
    IDS,
    LLAMA,
    PAIRS,
    assert_same,
    random_model,
    rewrite_config,
    save,
)


@pytest.fixture(autouse=True)
def _announcements_are_heard(caplog):
    caplog.set_level(logging.WARNING, "minitl")


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_shard_bytes", [10**9, 700], ids=["single", "sharded"])
@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_saved_model_loads_bit_for_bit(name, task, max_shard_bytes, tmp_path):
    model = random_model(CONFIGS[name], task)
    save_model(model, tmp_path, max_shard_bytes=max_shard_bytes)
    assert (tmp_path / INDEX).exists() == (max_shard_bytes == 700)
    loaded = load_model(tmp_path)
    assert loaded.task == task
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    assert_same(loaded, model)
    want, got = model(IDS), loaded(IDS)
    for field in ("last_hidden_state", "logits", "start_logits", "end_logits", "pooler_output"):
        assert (getattr(want, field) is None) == (getattr(got, field) is None)
        # Not bit for bit: on some processors the last one depends on where in memory a matrix begins.
        torch.testing.assert_close(getattr(got, field), getattr(want, field), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "stored", "asked"), PAIRS)
def test_any_task_can_be_put_on_any_checkpoint(name, stored, asked, tmp_path, caplog):
    model, folder = save(tmp_path, CONFIGS[name], stored)
    loaded = load_model(folder, asked)
    assert not any(p.is_meta for p in loaded.parameters())
    expected, found = model.state_dict(), loaded.state_dict()
    fresh = [n for n, p in loaded.named_parameters() if n.startswith("head.") or n not in expected]
    assert all(torch.equal(p, expected[n]) for n, p in found.items() if n not in fresh and not n.startswith("head."))
    if asked == stored or not fresh:
        assert caplog.text == ""
    else:
        assert "new and untrained, not from the checkpoint: head." in caplog.text
    loaded(IDS)


def test_parameters_are_views_of_the_file_and_training_them_leaves_it_alone(tmp_path):
    _, folder = save(tmp_path, GPT2, "causal-lm")
    before = (folder / SINGLE).read_bytes()
    loaded = load_model(folder)
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=0.1)
    loaded(IDS).logits.square().mean().backward()
    optimizer.step()
    assert (folder / SINGLE).read_bytes() == before
    save_model(loaded, folder)  # over the very file that the parameters came from
    assert_same(load_model(folder), loaded)
    assert_same(copy.deepcopy(loaded), loaded)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("asked", [torch.float32, torch.bfloat16])
def test_the_type_is_what_was_asked_for_whatever_the_file_has(stored, asked, tmp_path):
    model = random_model(BERT).to(stored)
    save_model(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == str(stored).removeprefix("torch.")
    assert_same(load_model(tmp_path, dtype=asked), copy.deepcopy(model).to(asked))


def test_labels_go_there_and_back(tmp_path):
    save_model(random_model(BERT, "sequence-classification", labels=["bad", "so-so", "good"]), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["id2label"] == {"0": "bad", "1": "so-so", "2": "good"}
    assert values["label2id"] == {"bad": 0, "so-so": 1, "good": 2}
    assert load_model(tmp_path).config.labels == ["bad", "so-so", "good"]
    assert load_model(tmp_path, labels=["a", "b", "c"]).config.labels == ["a", "b", "c"]


def test_fields_that_nobody_reads_survive(tmp_path):
    config = {**BERT, "transformers_version": "4.1", "custom": {"deep": [1, None]}, "gradient_checkpointing": False}
    _, folder = save(tmp_path, config)
    save_model(load_model(folder), folder)
    values = json.loads((folder / "config.json").read_text())
    assert {k: values[k] for k in config} == config


@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_both_spellings_of_the_rotary_scaling_are_read(field, tmp_path):
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    plain, folder = save(tmp_path, LLAMA)
    if field == "rope_scaling":
        rewrite_config(folder, rope_scaling=scaling)
    else:
        rewrite_config(folder, rope_parameters={**scaling, "rope_theta": 500000.0}, rope_theta=...)
    scaled = load_model(folder)
    want = load_model_with(folder, scaling)
    assert torch.equal(scaled(IDS).last_hidden_state, want(IDS).last_hidden_state)
    assert not torch.equal(scaled(IDS).last_hidden_state, plain(IDS).last_hidden_state)
    save_model(scaled, folder)
    assert torch.equal(load_model(folder)(IDS).last_hidden_state, want(IDS).last_hidden_state)


def load_model_with(folder, scaling):
    model = new_model({**LLAMA, "rope_scaling": scaling})
    model.load_state_dict(load_model(folder).state_dict())
    return model


# --- config.json -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '{"model_type": "bert",}', "\udcff"])
def test_a_damaged_config_is_refused(content, tmp_path):
    _, folder = save(tmp_path, BERT)
    (folder / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises((CheckpointError, ConfigError), match=r"config\.json"):
        load_model(folder)


def test_a_missing_config_is_named(tmp_path):
    _, folder = save(tmp_path, BERT)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load_model(folder)


@pytest.mark.parametrize("value", [..., None, 3, "albert", ["bert"]])
def test_an_unknown_model_type_lists_the_known(value, tmp_path):
    _, folder = save(tmp_path, BERT)
    rewrite_config(folder, model_type=value)
    with pytest.raises(ConfigError, match=f"unknown model_type .*; known: {', '.join(family_names())}"):
        load_model(folder)


def test_an_unknown_architecture_lists_the_known(tmp_path):
    _, folder = save(tmp_path, BERT)
    rewrite_config(folder, architectures=["BertForJuggling"])
    with pytest.raises(
        ConfigError, match=r"unknown architecture 'BertForJuggling'.*; known: BertModel, BertForMaskedLM"
    ):
        load_model(folder)


def test_an_unknown_activation_lists_the_known(tmp_path):
    _, folder = save(tmp_path, BERT)
    rewrite_config(folder, hidden_act="wave")
    with pytest.raises(
        ConfigError, match=f"^{folder}/config.json: field 'hidden_act' must be one of gelu, .*, got 'wave'"
    ):
        load_model(folder)


# --- new models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_new_model_follows_the_seed_and_its_type(name, task):
    torch.manual_seed(1)
    first = new_model(CONFIGS[name], task, dtype=torch.bfloat16)
    torch.manual_seed(1)
    assert_same(new_model(CONFIGS[name], task, dtype=torch.bfloat16), first)
    assert {p.dtype for p in first.parameters()} == {torch.bfloat16}
    assert not any(p.isnan().any() for p in first.parameters())
