import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from minitl.checkpoints.convert import convert
from minitl.checkpoints.digest import read_digests, sha256
from minitl.checkpoints.hub import pull
from minitl.checkpoints.weights import INDEX, SINGLE
from minitl.errors import CheckpointError
from minitl.models.loading import load_model, new_model, save_model

BERT = {
    "model_type": "bert",
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}

MODULES = json.dumps(
    [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
)


@pytest.fixture
def model():
    return new_model(BERT, "masked-lm")


@pytest.fixture
def old(model, tmp_path):
    """A folder as of 2019: a pickle with gamma and beta, both names of the tied tensor, and a tokenizer."""
    folder = tmp_path / "old"
    save_model(model, folder)
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    (folder / "SHA256SUMS").unlink()
    legacy = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for name, t in tensors.items()
    }
    legacy["cls.predictions.decoder.weight"] = legacy["bert.embeddings.word_embeddings.weight"]  # shared memory
    legacy["bert.embeddings.position_ids"] = torch.arange(16)[None].expand(1, 16)
    torch.save(legacy, folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    (folder / "README.md").write_text("not part of the checkpoint")
    return folder


def same(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(x == y and torch.equal(s, t) for (x, s), (y, t) in pairs)


def test_the_result_is_the_same_model(old, model, tmp_path):
    convert(old, tmp_path / "new")
    assert same(load_model(tmp_path / "new"), model)


def test_configuration_and_tokenizer_come_along_with_digests(old, tmp_path):
    convert(old, tmp_path / "new")
    names = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert names == ["SHA256SUMS", "config.json", SINGLE, "vocab.txt"]


def test_a_folder_can_be_converted_in_place(old, model):
    convert(old, old)
    assert same(load_model(old), model)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_both_formats_of_torch_save_are_read(old, model, tmp_path, zipped):
    content = torch.load(old / "pytorch_model.bin")
    torch.save(content, old / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    convert(old, tmp_path / "new")
    assert same(load_model(tmp_path / "new"), model)


def shard(old):
    content = torch.load(old / "pytorch_model.bin")
    (old / "pytorch_model.bin").unlink()
    names = sorted(content)
    halves = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, part in halves.items():
        torch.save({name: content[name].clone() for name in part}, old / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    (old / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


def test_shards_are_read_and_written(old, model, tmp_path):
    shard(old)
    convert(old, tmp_path / "one")
    assert same(load_model(tmp_path / "one"), model)
    convert(old, tmp_path / "several", max_shard_bytes=2000)
    assert (tmp_path / "several" / INDEX).exists()
    assert same(load_model(tmp_path / "several"), model)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x.bin"])
def test_a_shard_outside_the_folder_is_refused(old, tmp_path, name):
    weight_map = shard(old)
    weight_map["bert.embeddings.position_ids"] = name
    (old / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        convert(old, tmp_path / "new")


def test_an_index_that_disagrees_with_its_shards_is_refused(old, tmp_path):
    weight_map = shard(old)
    weight_map["elsewhere.weight"] = "pytorch_model-00001-of-00002.bin"
    (old / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"in one of the two only: elsewhere\.weight"):
        convert(old, tmp_path / "new")


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_a_pickle_with_code_is_refused_and_not_run(old, tmp_path, zipped, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Code()}, old / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: holds more than tensors"):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "ran").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]


def test_a_bare_pickle_with_code_is_refused_and_not_run(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (old / "pytorch_model.bin").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(CheckpointError):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_a_truncated_file_is_refused(old, tmp_path, keep):
    content = (old / "pytorch_model.bin").read_bytes()
    (old / "pytorch_model.bin").write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: "):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_not_tensors_by_name_is_listed(old, tmp_path):
    torch.save({"a": torch.zeros(1), "step": 3, "nested": {"b": torch.zeros(1)}}, old / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no tensors are: step, nested"):
        convert(old, tmp_path / "new")
    torch.save([torch.zeros(1)], old / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="expected tensors by name, got list"):
        convert(old, tmp_path / "new")


def test_a_folder_without_a_pickle_is_refused(model, tmp_path):
    save_model(model, tmp_path / "modern")
    with pytest.raises(CheckpointError, match="nothing to convert"):
        convert(tmp_path / "modern", tmp_path / "new")


def test_a_pickle_from_the_hub_is_pulled_for_conversion_only(hub, old, model, tmp_path):
    hub.serve(old)
    with pytest.raises(CheckpointError, match="minitl convert org/model DESTINATION"):
        load_model("org/model")
    convert("org/model", tmp_path / "new")
    assert same(load_model(tmp_path / "new"), model)
    with pytest.raises(CheckpointError, match="minitl convert"):
        load_model("org/model")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "vocab.txt"])
def test_what_was_damaged_since_it_was_pulled_is_not_converted(hub, old, tmp_path, name):
    hub.serve(old)
    pulled = pull("org/model", pickles=True)
    content = bytearray((pulled / name).read_bytes())
    content[len(content) // 2] ^= 1
    (pulled / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{pulled / name}: the content does not match its digest in SHA256SUMS"):
        convert("org/model", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_module_of_a_sentence_encoder_is_converted_too(old, tmp_path):
    (old / "2_Dense").mkdir()
    (old / "modules.json").write_text(MODULES)
    (old / "2_Dense" / "config.json").write_text("{}")
    torch.save({"linear.weight": torch.ones(2, 3).t()}, old / "2_Dense" / "pytorch_model.bin")
    convert(old, tmp_path / "new")
    assert read_digests(tmp_path / "new/2_Dense") == {SINGLE: sha256(tmp_path / "new/2_Dense" / SINGLE)}
    assert torch.equal(load_file(tmp_path / "new/2_Dense" / SINGLE)["linear.weight"], torch.ones(3, 2))
    assert (tmp_path / "new/2_Dense/config.json").exists()
