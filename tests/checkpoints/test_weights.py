import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitl.checkpoints.digest import FILE_NAME, read_digests
from minitl.checkpoints.weights import INDEX, SINGLE, Weights, open_weights, save_weights, saving, write_safetensors
from minitl.errors import CheckpointError
from minitl.models.loading import load_model, new_model, save_model

TINY = {
    "model_type": "bert",
    "vocab_size": 8,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 4,
    "max_position_embeddings": 4,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    save_model(new_model(TINY), folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A checkpoint of one's own to damage, without digests: as it were from elsewhere."""
    folder = shutil.copytree(saved, tmp_path / "copy")
    (folder / FILE_NAME).unlink()
    return folder


def header_of(content: bytes) -> dict:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def with_header(header: dict, payload: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def payload_of(content: bytes) -> bytes:
    return content[8 + struct.unpack("<Q", content[:8])[0] :]


# --- one file -------------------------------------------------------------------------------------------------------


def test_shapes_and_types_are_known_and_tensors_read(tmp_path):
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4), "c": torch.randn(5).bfloat16()}
    write_safetensors(tensors, tmp_path / SINGLE)
    weights = open_weights(tmp_path)
    assert weights.shapes == {"a": (2, 3), "b": (4,), "c": (5,)}
    assert weights.dtypes == {"a": "F32", "b": "I64", "c": "BF16"}
    assert all(torch.equal(weights[name], tensors[name]) for name in tensors)


def test_a_tensor_can_be_changed_and_the_file_stays(copy):
    before = (copy / SINGLE).read_bytes()
    weights = open_weights(copy)
    for name in weights:
        weights[name].fill_(7)
    assert (copy / SINGLE).read_bytes() == before


def test_tensors_at_odd_addresses_are_read(tmp_path):
    header = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    for padding in range(8):
        text = json.dumps(header).encode() + b" " * padding
        (tmp_path / SINGLE).write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<3f", 1, 2, 3))
        tensor = open_weights(tmp_path)["a"]
        assert tensor.tolist() == [1, 2, 3]
        assert tensor.data_ptr() % 4 == 0


@given(keep=st.integers(0, 10**6))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(saved, copy, keep):
    content = (saved / SINGLE).read_bytes()
    (copy / SINGLE).write_bytes(content[: keep % len(content)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*not a whole safetensors file"):
        load_model(copy)


def test_a_header_that_claims_ten_gigabytes_is_refused(copy):
    content = (copy / SINGLE).read_bytes()
    (copy / SINGLE).write_bytes(struct.pack("<Q", 10 * 10**9) + content[8:])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_model(copy)


def test_a_tensor_that_claims_ten_gigabytes_is_refused(copy):
    content = (copy / SINGLE).read_bytes()
    header = header_of(content)
    name = next(name for name in header if name != "__metadata__")
    header[name] = {"dtype": "F32", "shape": [2_500_000_000], "data_offsets": [0, 10_000_000_000]}
    (copy / SINGLE).write_bytes(with_header(header, payload_of(content)))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_model(copy)


@pytest.mark.parametrize("shift", [-4, 4, -(10**6)], ids=["overlapping", "with a gap", "negative"])
def test_offsets_that_do_not_tile_the_payload_are_refused(copy, shift):
    content = (copy / SINGLE).read_bytes()
    header = header_of(content)
    names = sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"])
    start, end = header[names[1]]["data_offsets"]
    header[names[1]]["data_offsets"] = [start + shift, end + shift]
    (copy / SINGLE).write_bytes(with_header(header, payload_of(content)))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_model(copy)


def test_integers_are_no_weights(copy):
    content = (copy / SINGLE).read_bytes()
    header = header_of(content)
    header["pooler.dense.bias"]["dtype"] = "I32"
    (copy / SINGLE).write_bytes(with_header(header, payload_of(content)))
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias: stored as I32, not as floating-point numbers"):
        load_model(copy)


# --- one flipped bit -------------------------------------------------------------------------------------------------


def flip(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def header_bits(folder: Path) -> int:
    return 8 * (8 + struct.unpack("<Q", (folder / SINGLE).read_bytes()[:8])[0])


def check_flipped_header(saved: Path, folder: Path, bit: int) -> None:
    """Caught; or, without digests, of no effect: the header still says the same of the tensors."""
    (folder / SINGLE).write_bytes(flip((saved / SINGLE).read_bytes(), bit))
    try:
        model = load_model(folder)
    except CheckpointError:
        return
    assert not (folder / FILE_NAME).exists(), bit
    expected = load_model(saved).state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items()), bit


SETTINGS = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(data=st.data())
@SETTINGS
def test_a_flipped_bit_in_the_header_without_digests(saved, copy, data):
    check_flipped_header(saved, copy, data.draw(st.integers(0, header_bits(saved) - 1)))


@given(data=st.data())
@SETTINGS
def test_a_flipped_bit_anywhere_with_digests_is_caught(saved, copy, data):
    shutil.copy(saved / FILE_NAME, copy)
    content = (saved / SINGLE).read_bytes()
    (copy / SINGLE).write_bytes(flip(content, data.draw(st.integers(0, 8 * len(content) - 1))))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the content does not match its digest"):
        load_model(copy)


@pytest.mark.slow
def test_every_bit_of_the_header_without_digests(saved, copy):
    for bit in range(header_bits(saved)):
        check_flipped_header(saved, copy, bit)


# --- several files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    save_model(new_model(TINY), folder, max_shard_bytes=300)
    (folder / FILE_NAME).unlink()
    return folder


def edit_index(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\etc\\passwd", "C:\\x", "sub/x.safetensors", "..", ".", ""]
)
def test_a_shard_outside_the_folder_is_refused_by_name(shards, name):
    edit_index(shards, lambda weight_map: weight_map.update({"pooler.dense.weight": name}))
    with pytest.raises(CheckpointError, match="leads out of the folder") as error:
        load_model(shards)
    assert repr(name) in str(error.value)
    assert "pooler.dense.weight" in str(error.value)


def test_a_missing_shard_is_named(shards):
    lost = sorted(shards.glob("model-*"))[1]
    lost.unlink()
    with pytest.raises(CheckpointError, match=f"names files that are not there: {lost.name}"):
        load_model(shards)


def test_an_index_that_disagrees_with_its_shards_is_refused(shards):
    first, second = sorted(file.name for file in shards.glob("model-*"))[:2]
    edit_index(shards, lambda m: m.update({n: second for n, file in m.items() if file == first}) or m.update(x=first))
    with pytest.raises(CheckpointError, match=rf"does not hold what {INDEX} says: lacks .*; has besides "):
        load_model(shards)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 10**5])
def test_a_damaged_index_is_refused(shards, content):
    (shards / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=INDEX):
        load_model(shards)


def test_a_flipped_bit_in_the_payload_of_a_shard_is_caught(tmp_path):
    save_model(new_model(TINY), tmp_path / "shards", max_shard_bytes=300)
    shard = sorted((tmp_path / "shards").glob("model-*"))[1]
    content = shard.read_bytes()
    shard.write_bytes(flip(content, 8 * len(content) - 1))
    with pytest.raises(CheckpointError, match=f"{shard.name}: the content does not match its digest"):
        load_model(tmp_path / "shards")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_without_weights_is_refused(copy):
    (copy / SINGLE).unlink()
    with pytest.raises(CheckpointError, match=f"holds neither {SINGLE} nor {INDEX}"):
        load_model(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_a_pickle_alone_names_the_way_out(copy, name):
    (copy / SINGLE).rename(copy / name)
    with pytest.raises(CheckpointError, match=f"minitl convert {copy} DESTINATION"):
        load_model(copy)


def test_damaged_digests_are_refused(saved, copy):
    (copy / FILE_NAME).write_bytes((saved / FILE_NAME).read_bytes().replace(b" ", b"!", 1))
    with pytest.raises(CheckpointError, match=f"{FILE_NAME}, line 1: expected a SHA-256 sum"):
        load_model(copy)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("first", [250, 600, 10**9])
@pytest.mark.parametrize("second", [250, 600, 10**9])
def test_a_second_save_leaves_no_stale_shard(tmp_path, first, second):
    save_model(new_model(TINY), tmp_path / "twice", max_shard_bytes=first)
    model = new_model(TINY)
    save_model(model, tmp_path / "twice", max_shard_bytes=second)
    save_model(model, tmp_path / "once", max_shard_bytes=second)
    assert names(tmp_path / "twice") == names(tmp_path / "once")
    assert read_digests(tmp_path / "twice") == read_digests(tmp_path / "once")
    loaded = load_model(tmp_path / "twice").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_a_save_keeps_other_files_and_their_digests(tmp_path):
    with saving(tmp_path) as stage:
        write_safetensors({"a": torch.ones(2)}, stage / "adapter_model.safetensors")
    (tmp_path / "notes.txt").write_text("mine")
    save_model(new_model(TINY), tmp_path)
    assert set(read_digests(tmp_path)) == {"adapter_model.safetensors", SINGLE}
    assert (tmp_path / "notes.txt").read_text() == "mine"
    Weights({tmp_path / "adapter_model.safetensors": None})


def test_of_two_layouts_the_one_with_digests_counts(tmp_path):
    """An interrupted save may leave an older layout beside the new one."""
    old, new = {"a": torch.zeros(2)}, {"a": torch.ones(2), "b": torch.ones(2)}
    save_weights(old, tmp_path, 10**9)
    with saving(tmp_path / "new") as stage:
        save_weights(new, stage, 8)
    shutil.copytree(tmp_path / "new", tmp_path, dirs_exist_ok=True)
    assert set(open_weights(tmp_path)) == {"a", "b"}
    (tmp_path / FILE_NAME).unlink()
    assert set(open_weights(tmp_path)) == {"a"}


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path: Path, mask: int):
    before = os.umask(mask)
    try:
        write_safetensors({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask
