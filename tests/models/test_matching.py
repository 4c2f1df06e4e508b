"""Which tensor of a file goes where, under which spelling, and what is said of those that fit nowhere."""

import logging

import pytest
import torch
from safetensors.torch import load_file

from minitl.checkpoints.weights import SINGLE
from minitl.errors import CheckpointError, InputError
from minitl.models.loading import load_model, new_model, save_model
from tests.models.saved import BERT, CONFIGS, GPT2, IDS, LLAMA, MODERNBERT, assert_same, rewrite, rewrite_config, save


@pytest.fixture(autouse=True)
def _announcements_are_heard(caplog):
    caplog.set_level(logging.WARNING, "minitl")


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
    backbone, folder = save(tmp_path / "1", CONFIGS[name])
    prefix = backbone.key_map.prefix
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
