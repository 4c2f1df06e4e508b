"""Adapters on disk: they come back with the same outputs, in PEFT's names, or not at all."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minitl import LoraConfig, add_lora, load_adapter, load_model, new_model, save_adapter, save_model, use_adapter
from minitl.adapters.files import CONFIG, MOST_LISTED, WEIGHTS
from minitl.checkpoints.digest import FILE_NAME
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model
from tests.adapters.tiny import CONFIGS, TASKS, outputs, tiny, train_a_little


def saved(folder: Path, family: str = "bert", task: str = "sequence-classification", **fields: Any) -> Model:
    model = tiny(family, task)
    add_lora(model, LoraConfig(**fields))
    train_a_little(model)
    save_adapter(model, folder)
    return model


def edit_config(folder: Path, **fields: Any) -> None:
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**values, **fields}))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    (folder / FILE_NAME).unlink(missing_ok=True)  # as files from elsewhere have none
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target_modules": "all-linear", "r": 3, "alpha": 5.5, "use_rslora": True},
        {"bias": "all", "r": 40},
        {"bias": "lora_only", "target_modules": ["feed_forward.down"], "dropout": 0.25},
        {"target_modules": ["feed_forward.down", "embeddings.token"], "use_dora": True},
        {"target_modules": "all-linear", "rank_pattern": {r".*\.0\..*": 3}, "alpha_pattern": {r".*\.1\..*": 2.5}},
    ],
)
@pytest.mark.parametrize(("family", "task"), TASKS)
def test_a_saved_adapter_gives_the_same_outputs_when_loaded(
    family: str, task: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    model = saved(tmp_path, family, task, **fields)
    again = tiny(family, task)
    load_adapter(again, tmp_path, name="again")
    assert torch.equal(outputs(again), outputs(model))
    save_adapter(again, tmp_path / "twice", name="again")
    first, second = load_file(tmp_path / WEIGHTS), load_file(tmp_path / "twice" / WEIGHTS)
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (tmp_path / "twice" / CONFIG).read_text() == (tmp_path / CONFIG).read_text()


def test_the_files_are_pefts(tmp_path: Path) -> None:
    saved(tmp_path, target_modules=["query"], r=2, bias="lora_only")
    layers = [f"base_model.model.bert.encoder.layer.{i}.attention.self.query" for i in range(2)]
    kinds = ("lora_A.weight", "lora_B.weight", "base_layer.bias")
    expected = {f"{layer}.{kind}" for layer in layers for kind in kinds}
    head = {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}
    tensors = load_file(tmp_path / WEIGHTS)
    assert set(tensors) == expected | head
    assert tensors[f"{layers[0]}.lora_A.weight"].shape == (2, 16)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "SEQ_CLS"
    assert config["target_modules"] == ["query"]
    assert config["modules_to_save"] == ["classifier"]
    assert (config["r"], config["lora_alpha"], config["bias"]) == (2, 16, "lora_only")


def test_the_base_is_recorded_where_it_came_from_somewhere(tmp_path: Path) -> None:
    save_model(tiny("bert", "backbone"), tmp_path / "base")
    model = load_model(tmp_path / "base")
    add_lora(model, LoraConfig())
    save_adapter(model, tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["base_model_name_or_path"] == str(tmp_path / "base")
    saved(tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["base_model_name_or_path"] is None


def test_transposed_weights_have_their_adapters_the_same_way_round_but_saved_modules_turned(tmp_path: Path) -> None:
    model = saved(tmp_path, "gpt2", "causal-lm", r=2, modules_to_save=["c_fc"])
    tensors = load_file(tmp_path / WEIGHTS)
    assert tensors["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"].shape == (2, 16)
    assert tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"].shape == (48, 2)
    up = tensors["base_model.model.transformer.h.0.mlp.c_fc.weight"]
    assert torch.equal(up.T, model.layers[0].feed_forward.up.weight)
    assert json.loads((tmp_path / CONFIG).read_text())["fan_in_fan_out"] is True
    again = tiny("gpt2", "causal-lm")
    load_adapter(again, tmp_path)
    assert torch.equal(outputs(again), outputs(model))


def test_an_adapter_that_is_not_the_active_one_is_saved_as_it_is(tmp_path: Path) -> None:
    model = saved(tmp_path / "active", bias="all")
    use_adapter(model, None)
    save_adapter(model, tmp_path / "inactive")
    first, second = load_file(tmp_path / "active" / WEIGHTS), load_file(tmp_path / "inactive" / WEIGHTS)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_does_not_fit_is_listed_in_one_error_and_leaves_the_model_alone(tmp_path: Path) -> None:
    saved(tmp_path)
    layer = "base_model.model.bert.encoder.layer.{}.attention.self.query.lora_{}.weight"

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[layer.format(0, "A")]
        tensors[layer.format(1, "B")] = torch.zeros(9, 8)
        tensors["base_model.model.bert.encoder.layer.7.attention.self.query.lora_A.weight"] = torch.zeros(8, 16)
        tensors["base_model.model.nowhere"] = torch.zeros(1)

    edit_tensors(tmp_path, spoil)
    model = tiny("bert", "sequence-classification")
    before, expected = [name for name, _ in model.named_parameters()], outputs(model)
    with pytest.raises(CheckpointError) as error:
        load_adapter(model, tmp_path)
    message = str(error.value)
    assert str(tmp_path / WEIGHTS) in message
    assert "layer.0.attention.self.query.lora_A.weight: missing, shape [8, 16]" in message
    assert "layer.1.attention.self.query.lora_B.weight: shape [9, 8] in the file, [16, 8] in the model" in message
    assert "layer.7.attention.self.query.lora_A.weight: unexpected" in message
    assert "nowhere: unexpected" in message
    assert [name for name, _ in model.named_parameters()] == before
    assert torch.equal(outputs(model), expected)


def test_integers_are_no_adapter(tmp_path: Path) -> None:
    saved(tmp_path)
    key = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
    edit_tensors(tmp_path, lambda tensors: tensors.update({key: tensors[key].long()}))
    with pytest.raises(CheckpointError, match=rf"{key}: stored as I64, not as floating-point numbers"):
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)


@pytest.mark.parametrize("wrapper", ["original_module", "modules_to_save"])
def test_what_peft_writes_twice_is_passed_over_and_what_only_looks_so_is_not(wrapper: str, tmp_path: Path) -> None:
    model = saved(tmp_path, bias="all")
    again = tiny("bert", "sequence-classification")
    edit_tensors(tmp_path, lambda t: t.update({f"base_model.model.classifier.{wrapper}.bias": torch.zeros(2)}))
    load_adapter(again, tmp_path)
    assert torch.equal(outputs(again), outputs(model))
    nonsense = f"base_model.model.nowhere.{wrapper}.weight"
    edit_tensors(tmp_path, lambda t: t.update({nonsense: torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=f"{nonsense}: unexpected, shape"):
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)


def test_the_bases_own_table_in_the_file_must_be_this_ones(tmp_path: Path) -> None:
    """PEFT writes the tables of adapted embeddings too."""
    model = saved(tmp_path, target_modules=["word_embeddings", "query"])
    key = "base_model.model.bert.embeddings.word_embeddings.base_layer.weight"
    table = model.embeddings.token.weight.detach()
    for same in (table.clone(), table.bfloat16()):
        edit_tensors(tmp_path, lambda tensors, same=same: tensors.update({key: same}))
        again = tiny("bert", "sequence-classification")
        load_adapter(again, tmp_path)
        assert torch.equal(outputs(again), outputs(model))
    for other, expected in (
        (table + 1, "other numbers"),
        (table[1:].clone(), r"shape \[39, 16\] in the file, \[40, 16\]"),
    ):
        edit_tensors(tmp_path, lambda tensors, other=other: tensors.update({key: other}))
        with pytest.raises(CheckpointError, match=f"word_embeddings.base_layer.weight: .*{expected}"):
            load_adapter(tiny("bert", "sequence-classification"), tmp_path)


def test_a_head_that_the_config_promises_must_be_in_the_file(tmp_path: Path) -> None:
    saved(tmp_path)
    edit_tensors(tmp_path, lambda tensors: tensors.pop("base_model.model.classifier.weight"))
    with pytest.raises(CheckpointError, match=r"classifier\.weight: missing"):
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)


def test_an_adapter_without_a_head_is_announced_where_one_is_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, task="backbone")
    with caplog.at_level(logging.WARNING, "minitl"):
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)
    assert "has no head" in caplog.text


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fit.*'query'.*c_attn"):
        load_adapter(tiny("gpt2", "sequence-classification"), tmp_path)


def test_an_adapter_of_a_base_of_another_size_lists_the_shapes_that_differ(tmp_path: Path) -> None:
    saved(tmp_path, target_modules=["query"], r=2)
    wide = new_model({**CONFIGS["bert"], "hidden_size": 24}, "sequence-classification")
    key = "layer.0.attention.self.query.lora_"
    with pytest.raises(CheckpointError, match=rf"{key}A.weight: shape \[2, 16\] in the file, \[2, 24\] in the model"):
        load_adapter(wide, tmp_path)


def test_of_many_tensors_that_do_not_fit_the_first_are_listed(tmp_path: Path) -> None:
    saved(tmp_path, target_modules="all-linear")
    wide = new_model({**CONFIGS["bert"], "hidden_size": 24}, "sequence-classification")
    with pytest.raises(CheckpointError, match="does not fit") as error:
        load_adapter(wide, tmp_path)
    _, *listed, more = str(error.value).splitlines()
    assert len(listed) == MOST_LISTED
    assert re.fullmatch(r"  … and \d+ more", more)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"peft_type": "IA3"}, "'peft_type' must be 'LORA', got 'IA3'"),
        ({"layers_to_transform": [0]}, r"not supported: layers_to_transform = \[0\]"),
        ({"layers_to_transform": 0}, "not supported: layers_to_transform = 0"),
        ({"exclude_modules": ["query"]}, "not supported: exclude_modules"),
        ({"use_dora": "yes"}, "use_dora must be true or false"),
        ({"rank_pattern": {"query": 0}}, "rank_pattern 'query' must be an integer"),
        ({"init_lora_weights": "pissa"}, "not supported: init_lora_weights = 'pissa'"),
        ({"r": "8"}, "r must be an integer"),
        ({"lora_dropout": 2}, "dropout must be"),
        ({"target_modules": ["quarry"]}, "quarry"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused_by_name(
    fields: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    edit_config(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=expected) as error:
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)
    assert CONFIG in str(error.value)


def test_names_and_patterns_that_match_nothing_are_passed_over_as_peft_does(tmp_path: Path) -> None:
    model = saved(tmp_path, target_modules=["query"])
    nothing = {"rank_pattern": {"quarry": 4}, "alpha_pattern": {"quarry": 4}}
    edit_config(tmp_path, target_modules=["query", "q_proj"], **nothing)
    again = tiny("bert", "sequence-classification")
    load_adapter(again, tmp_path)
    assert torch.equal(outputs(again), outputs(model))
    edit_config(tmp_path, target_modules=["query", "key"])
    with pytest.raises(CheckpointError, match=r"key\.lora_A\.weight: missing"):
        load_adapter(tiny("bert", "sequence-classification"), tmp_path)


def test_empty_settings_of_other_methods_are_fine_and_unknown_ones_are_reported_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = saved(tmp_path)
    edit_config(tmp_path, use_dora=False, rank_pattern={}, layers_to_transform=None, peft_version="9", of_tomorrow=3)
    edit_config(tmp_path, revision="v2")
    again = tiny("bert", "sequence-classification")
    with caplog.at_level(logging.WARNING, "minitl"):
        load_adapter(again, tmp_path)
    assert "of_tomorrow" in caplog.text
    assert "peft_version" not in caplog.text
    assert "revision" not in caplog.text
    assert torch.equal(outputs(again), outputs(model))
    save_adapter(again, tmp_path / "again")
    kept = json.loads((tmp_path / "again" / CONFIG).read_text())
    assert (kept["of_tomorrow"], kept["revision"]) == (3, "v2")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no weights", "no config", "pickle", "not json", "no rank"])
def test_damaged_files_are_refused(damage: str, tmp_path: Path) -> None:
    saved(tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    match damage:
        case "truncated":
            (tmp_path / FILE_NAME).unlink()
            (tmp_path / WEIGHTS).write_bytes(content[:-10])
        case "flipped":
            content[-1] ^= 1
            (tmp_path / WEIGHTS).write_bytes(content)
        case "no weights":
            (tmp_path / WEIGHTS).unlink()
        case "no config":
            (tmp_path / CONFIG).unlink()
        case "pickle":
            (tmp_path / WEIGHTS).rename(tmp_path / "adapter_model.bin")
        case "not json":
            (tmp_path / CONFIG).write_text("{")
        case "no rank":
            (tmp_path / CONFIG).write_text('{"peft_type": "LORA"}')
    model = tiny("bert", "sequence-classification")
    expected = outputs(model)
    with pytest.raises(CheckpointError, match="adapter_"):
        load_adapter(model, tmp_path)
    assert torch.equal(outputs(model), expected)


def test_names_are_checked_before_anything_is_read_or_written(tmp_path: Path) -> None:
    model = saved(tmp_path)
    with pytest.raises(InputError, match="placed already"):
        load_adapter(model, tmp_path)
    with pytest.raises(InputError, match="'other'"):
        save_adapter(model, tmp_path / "new", name="other")
    assert not (tmp_path / "new").exists()


def test_a_file_stands_where_the_folder_should(tmp_path: Path) -> None:
    model = saved(tmp_path / "fine")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file"):
        save_adapter(model, tmp_path / "file" / "adapter")
