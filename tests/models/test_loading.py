import copy
import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from minitl.checkpoints.digest import FILE_NAME
from minitl.checkpoints.weights import INDEX, SINGLE
from minitl.errors import CheckpointError, ConfigError, InputError
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.registry import MODULES, family_of

BERT = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
DEBERTA = {
    **BERT,
    "model_type": "deberta-v2",
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 4,
    "norm_rel_ebd": "layer_norm",
}
GPT2 = {"model_type": "gpt2", "vocab_size": 24, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 12,
    "rope_theta": 500000.0,
}
LLAMA_TIED = {**LLAMA, "tie_word_embeddings": True}
MODERNBERT = {
    "model_type": "modernbert",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "local_attention": 2,
}
CONFIGS = {
    "bert": BERT,
    "deberta-v2": DEBERTA,
    "gpt2": GPT2,
    "llama": LLAMA,
    "llama-tied": LLAMA_TIED,
    "modernbert": MODERNBERT,
}
CASES = [(name, task) for name in CONFIGS for task in ("backbone", *family_of(CONFIGS[name]["model_type"]).heads)]
PAIRS = [(name, stored, asked) for name, stored in CASES for other, asked in CASES if other == name]
IDS = torch.tensor([[1, 2, 3, 4, 5]])


@pytest.fixture(autouse=True)
def _announcements_are_heard(caplog):
    caplog.set_level(logging.WARNING, "minitl")


def random_model(config, task="backbone", **options):
    """Every parameter away from 0 and 1, so that none can be mistaken for another or for a fresh one."""
    model = new_model(config, task, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def assert_same(loaded, expected):
    left, right = loaded.state_dict(), expected.state_dict()
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert torch.equal(left[name], right[name]), name


def rewrite(folder, change):
    """Change the tensors of a saved checkpoint, as if it came from elsewhere."""
    tensors = load_file(folder / SINGLE)
    tensors = change(tensors) or tensors
    (folder / SINGLE).unlink()  # not in place: a loaded model may be a view of it
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / SINGLE)
    (folder / FILE_NAME).unlink(missing_ok=True)


def rewrite_config(folder, **fields):
    values = json.loads((folder / "config.json").read_text())
    values.update(fields)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def save(tmp_path, config, task="backbone", **options):
    model = random_model(config, task, **options)
    save_model(model, tmp_path / "saved")
    return model, tmp_path / "saved"


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


# --- published spellings ---------------------------------------------------------------------------------------------


def test_gamma_and_beta_of_2018_are_read(tmp_path):
    model, folder = save(tmp_path, BERT, "masked-lm")

    def age(tensors):
        spell = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        return {_replaced(name, spell): tensor for name, tensor in tensors.items()}

    rewrite(folder, age)
    assert any("gamma" in name for name in load_file(folder / SINGLE))
    assert_same(load_model(folder), model)


def _replaced(name, spelling):
    for new, old in spelling.items():
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("name", CONFIGS)
def test_the_prefix_may_be_there_or_not(name, tmp_path):
    prefix = family_of(CONFIGS[name]["model_type"]).keys.prefix
    backbone, folder = save(tmp_path / "1", CONFIGS[name])
    rewrite(folder, lambda tensors: {prefix + key: tensor for key, tensor in tensors.items()})
    assert_same(load_model(folder), backbone)
    model, folder = save(tmp_path / "2", CONFIGS[name], "token-classification")
    rewrite(folder, lambda tensors: {key.removeprefix(prefix): tensor for key, tensor in tensors.items()})
    assert_same(load_model(folder), model)


TIED = [("bert", "masked-lm", "cls.predictions.decoder.weight"), ("gpt2", "causal-lm", "lm_head.weight")]
TIED.append(("deberta-v2", "masked-lm", "cls.predictions.decoder.weight"))
TIED.append(("llama-tied", "causal-lm", "lm_head.weight"))


@pytest.mark.parametrize("keep", ["embedding", "output", "both"])
@pytest.mark.parametrize("as_task", ["itself", "backbone", "sequence-classification"])
@pytest.mark.parametrize(("name", "task", "output"), TIED)
def test_tied_tensors_are_found_under_either_name(name, task, output, as_task, keep, tmp_path):
    model, folder = save(tmp_path, CONFIGS[name], task)
    embedding = model.key_map.to_published("embeddings.token.weight")

    def change(tensors):
        assert output not in tensors  # written once
        if keep != "embedding":
            tensors[output] = tensors[embedding].clone()
        if keep == "output":
            del tensors[embedding]

    rewrite(folder, change)
    loaded = load_model(folder, None if as_task == "itself" else as_task)
    assert torch.equal(loaded.embeddings.token.weight, model.embeddings.token.weight)
    if as_task == "itself":
        assert loaded.head.decoder.weight is loaded.embeddings.token.weight


@pytest.mark.parametrize(("name", "task", "output"), TIED)
def test_tied_tensors_that_differ_are_refused(name, task, output, tmp_path):
    model, folder = save(tmp_path, CONFIGS[name], task)
    embedding = model.key_map.to_published("embeddings.token.weight")
    rewrite(folder, lambda tensors: tensors.update({output: tensors[embedding] + 1}))
    with pytest.raises(CheckpointError, match="are one tensor in this model, but differ") as error:
        load_model(folder)
    assert output in str(error.value)
    assert embedding in str(error.value)


def test_all_tensors_that_differ_are_listed_with_what_else_is_wrong(tmp_path):
    _, folder = save(tmp_path, BERT, "masked-lm")
    embedding, output = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    bias, twin = "cls.predictions.bias", "cls.predictions.decoder.bias"
    rewrite(
        folder,
        lambda t: t.update({output: t[embedding] + 1, twin: t[bias] + 1, "surprise": torch.ones(2)}),
    )
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    differ = "are one tensor in this model, but differ there"
    assert sorted(line.strip() for line in str(error.value).splitlines()[1:]) == [
        f"{embedding} and {output}, shape [24, 8]: {differ}",
        f"{bias} and {twin}, shape [24]: {differ}",
        "surprise: unexpected, shape [2]",
    ]


def test_an_untied_output_layer_is_its_own(tmp_path):
    model, folder = save(tmp_path, LLAMA, "causal-lm")
    assert "lm_head.weight" in load_file(folder / SINGLE)
    assert not torch.equal(model.head.decoder.weight, model.embeddings.token.weight)
    assert_same(load_model(folder), model)


def test_the_two_published_names_of_one_bias_are_read_and_must_agree(tmp_path):
    model, folder = save(tmp_path, BERT, "masked-lm")
    name, twin = "cls.predictions.bias", "cls.predictions.decoder.bias"
    rewrite(folder, lambda tensors: tensors.update({twin: tensors[name].clone()}))
    assert_same(load_model(folder), model)
    rewrite(folder, lambda tensors: tensors.update({twin: tensors[name] + 1}))
    with pytest.raises(CheckpointError, match="but differ"):
        load_model(folder)


def test_an_optional_pooler_is_left_out(tmp_path, caplog):
    _, folder = save(tmp_path, BERT)
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "pooler" not in n})
    loaded = load_model(folder)
    assert loaded.pooler is None
    assert loaded(IDS).pooler_output is None
    assert caplog.text == ""
    save_model(loaded, folder)
    assert not any("pooler" in name for name in load_file(folder / SINGLE))


def test_half_a_pooler_is_refused(tmp_path):
    _, folder = save(tmp_path, BERT)
    rewrite(folder, lambda tensors: tensors.pop("pooler.dense.bias") is None)
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias: missing, shape \[8\] in the model"):
        load_model(folder)


def test_a_new_classifier_gets_the_pooler_that_it_needs(tmp_path, caplog):
    _, folder = save(tmp_path, BERT, "masked-lm")
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "pooler" not in n})
    load_model(folder, "sequence-classification")(IDS)
    assert "head.classifier, pooler.dense" in caplog.text


def test_a_trained_classifier_does_not_get_a_random_pooler(tmp_path):
    _, folder = save(tmp_path, BERT, "sequence-classification")
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "pooler" not in n})
    with pytest.raises(CheckpointError, match=r"bert\.pooler\.dense\.weight: missing"):
        load_model(folder)


DROPS = {
    "bert": ["embeddings.position_ids", "bert.embeddings.position_ids", "cls.seq_relationship.weight"],
    "gpt2": ["h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "llama": ["layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.self_attn.rotary_emb.inv_freq"],
}


@pytest.mark.parametrize("name", DROPS)
def test_known_tensors_that_nobody_needs_are_dropped(name, tmp_path):
    model, folder = save(tmp_path, CONFIGS[name])
    rewrite(folder, lambda tensors: tensors.update({drop: torch.ones(3) for drop in DROPS[name]}))
    assert_same(load_model(folder), model)


@pytest.mark.parametrize("extra", ["h.0.attn.biases", "h.x.attn.bias", "x.h.0.attn.bias", "attn.bias"])
def test_what_only_resembles_a_known_drop_is_unexpected(extra, tmp_path):
    _, folder = save(tmp_path, GPT2)
    rewrite(folder, lambda tensors: tensors.update({extra: torch.ones(3)}))
    with pytest.raises(CheckpointError, match=f"{extra}: unexpected"):
        load_model(folder)


def test_without_architectures_the_file_says_which_head_it_has(tmp_path, caplog):
    model, folder = save(tmp_path, BERT, "masked-lm")
    rewrite_config(folder, architectures=...)
    assert_same(load_model(folder, "masked-lm"), model)
    assert caplog.text == ""
    assert load_model(folder).task == "backbone"
    load_model(folder, "question-answering")
    assert "new and untrained" in caplog.text


def test_half_a_head_is_not_filled_up_at_random(tmp_path):
    _, folder = save(tmp_path, BERT, "sequence-classification")
    rewrite_config(folder, architectures=...)
    rewrite(folder, lambda tensors: tensors.pop("classifier.bias") is None)
    with pytest.raises(CheckpointError, match=r"classifier\.bias: missing, shape \[2\] in the model"):
        load_model(folder, "sequence-classification")


def test_a_head_that_the_file_has_is_used_though_the_config_names_the_backbone_alone(tmp_path, caplog):
    model, folder = save(tmp_path, BERT, "masked-lm")
    rewrite_config(folder, architectures=["BertModel"])
    assert_same(load_model(folder, "masked-lm"), model)
    assert caplog.text == ""
    assert load_model(folder).task == "backbone"


def test_a_trained_head_of_another_task_makes_way_though_its_tensors_bear_the_same_names(tmp_path, caplog):
    _, folder = save(tmp_path, BERT, "token-classification", labels=["O", "B", "I"])
    loaded = load_model(folder, "sequence-classification", num_labels=5)
    assert loaded(IDS).logits.shape == (1, 5)
    assert "new and untrained, not from the checkpoint: head.classifier" in caplog.text


@pytest.mark.parametrize(
    ("stored", "asked", "new"),
    [
        ("masked-lm", "sequence-classification", "head.out"),
        ("masked-lm", "question-answering", "head.span"),
        ("token-classification", "sequence-classification", "head.out"),
        ("sequence-classification", "masked-lm", "head.decoder.bias"),
    ],
)
def test_what_the_heads_of_a_family_share_goes_over_from_one_to_the_other(stored, asked, new, tmp_path, caplog):
    model, folder = save(tmp_path, MODERNBERT, stored)
    loaded = load_model(folder, asked)
    assert torch.equal(loaded.head.dense.weight, model.head.dense.weight)
    assert torch.equal(loaded.head.norm.weight, model.head.norm.weight)
    assert caplog.text.rstrip().endswith(f"new and untrained, not from the checkpoint: {new}")


@pytest.mark.parametrize(("stored", "new"), [("masked-lm", "head.out"), ("sequence-classification", None)])
def test_shared_parts_do_not_make_a_head_the_one_that_is_asked_for(stored, new, tmp_path, caplog):
    model, folder = save(tmp_path, MODERNBERT, stored)
    rewrite_config(folder, architectures=...)
    loaded = load_model(folder, "sequence-classification")
    assert torch.equal(loaded.head.dense.weight, model.head.dense.weight)
    assert caplog.text.rstrip().endswith(f"not from the checkpoint: {new}") if new else caplog.text == ""


def test_a_new_head_is_announced_by_the_parts_that_are_new(tmp_path, caplog):
    _, folder = save(tmp_path, BERT)
    loaded = load_model(folder, "masked-lm")
    assert "head.decoder.bias, head.dense, head.norm" in caplog.text  # decoder.weight is the embedding
    assert loaded.head.decoder.weight is loaded.embeddings.token.weight
    assert loaded.head.decoder.bias.abs().sum() == 0
    assert loaded.head.norm.weight.sum() == 8


def test_a_new_head_has_as_many_labels_as_asked_for(tmp_path):
    _, folder = save(tmp_path, GPT2, "causal-lm")
    assert load_model(folder, "sequence-classification", num_labels=5)(IDS).logits.shape == (1, 5)
    assert load_model(folder, "token-classification", labels=["O", "B", "I"])(IDS).logits.shape == (1, 5, 3)


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_said_in_one_error(tmp_path):
    _, folder = save(tmp_path, BERT)

    def damage(tensors):
        del tensors["encoder.layer.0.output.dense.weight"], tensors["embeddings.LayerNorm.bias"]
        tensors["encoder.layer.2.output.dense.bias"] = torch.ones(8)
        tensors["surprise"] = torch.ones(2, 3)
        tensors["pooler.dense.weight"] = torch.ones(8, 9)
        tensors["pooler.dense.bias"] = torch.ones(8, dtype=torch.int64)

    rewrite(folder, damage)
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    first, *listed = str(error.value).splitlines()
    assert first == f"{folder}: the weights do not fit a bert backbone model:"
    assert sorted(line.strip() for line in listed) == [
        "embeddings.LayerNorm.bias: missing, shape [8] in the model",
        "encoder.layer.0.output.dense.weight: missing, shape [8, 12] in the model",
        "encoder.layer.2.output.dense.bias: unexpected, shape [8]",
        "pooler.dense.bias: stored as I64, not as floating-point numbers",
        "pooler.dense.weight: shape [8, 9] in the file, [8, 8] in the model",
        "surprise: unexpected, shape [2, 3]",
    ]


def test_a_transposed_tensor_is_expected_as_the_file_has_it(tmp_path):
    _, folder = save(tmp_path, GPT2)
    rewrite(folder, lambda tensors: tensors.update({"h.0.mlp.c_fc.weight": torch.ones(32, 8)}))
    with pytest.raises(CheckpointError, match=r"c_fc\.weight: shape \[32, 8\] in the file, \[8, 32\] in the model"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "task", "extra"),
    [
        ("llama", "sequence-classification", "score.bias"),  # which the token classifier has
        ("bert", "sequence-classification", "classifier.out.weight"),
        ("bert", "sequence-classification", "qa_outputs.weight"),
        ("bert", "token-classification", "cls.predictions.bias"),
    ],
)
def test_beside_a_trained_head_no_other_heads_tensors_are_expected(name, task, extra, tmp_path):
    _, folder = save(tmp_path, CONFIGS[name], task)
    rewrite(folder, lambda tensors: tensors.update({extra: torch.ones(2)}))
    with pytest.raises(CheckpointError, match=rf"{extra}: unexpected, shape \[2\]"):
        load_model(folder)


@pytest.mark.parametrize("twin", ["bert.pooler.dense.weight", "bert.embeddings.LayerNorm.gamma"])
def test_two_spellings_of_one_name_are_refused(twin, tmp_path):
    _, folder = save(tmp_path, BERT)
    rewrite(folder, lambda tensors: tensors.update({twin: torch.ones(8, 8) if "dense" in twin else torch.ones(8)}))
    with pytest.raises(CheckpointError, match=r"weight: several spellings of one name|gamma.*: several spellings"):
        load_model(folder)


@pytest.mark.parametrize("task", ["sequence-classification", "token-classification"])
def test_a_trained_head_keeps_its_number_of_labels(task, tmp_path):
    _, folder = save(tmp_path, BERT, task, labels=["no", "yes", "maybe"])
    with pytest.raises(InputError, match=r"head knows 3 labels \(no, yes, maybe\), 5 were asked for"):
        load_model(folder, num_labels=5)


@pytest.mark.parametrize(
    "options", [{"num_labels": 0}, {"labels": []}, {"labels": ["a", "a"]}, {"num_labels": 3, "labels": ["a", "b"]}]
)
def test_labels_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match="label"):
        new_model(BERT, "sequence-classification", **options)


def test_a_task_that_the_family_lacks_lists_those_it_has(tmp_path):
    _, folder = save(tmp_path, BERT)
    with pytest.raises(InputError, match="bert has no head for the task 'causal-lm'; it has: backbone, masked-lm"):
        load_model(folder, "causal-lm")


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
    with pytest.raises(ConfigError, match=f"unknown model_type .*; known: {', '.join(sorted(MODULES))}"):
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
