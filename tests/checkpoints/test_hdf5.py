import h5py
import numpy as np
import pytest
import torch

from minitl.checkpoints.hdf5 import Hdf5Weights, write_hdf5
from minitl.errors import CheckpointError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.hdf5"
    write_hdf5({"a/b/weight": torch.arange(6.0).reshape(2, 3).t(), "bias": torch.ones(4, dtype=torch.bfloat16)}, path)
    return path


def test_what_is_written_is_read(file):
    with Hdf5Weights(file) as weights:
        assert weights.shapes == {"a/b/weight": (3, 2), "bias": (4,)}
        assert sorted(weights) == ["a/b/weight", "bias"]
        assert torch.equal(weights["a/b/weight"], torch.arange(6.0).reshape(2, 3).t())
        assert weights["bias"].dtype == torch.float32


def test_a_file_that_is_absent_or_no_hdf5_or_cut_off_is_named(file, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.hdf5: no such file$"):
        Hdf5Weights(tmp_path / "absent.hdf5")
    content = file.read_bytes()
    for broken in (b"", b"no HDF5", content[:100], content[: len(content) // 2], content[:-200]):
        file.write_bytes(broken)
        with pytest.raises(CheckpointError, match=rf"weights\.hdf5 \({len(broken)} bytes\): not a whole HDF5 file: "):
            Hdf5Weights(file)


def test_integers_are_no_weights(tmp_path):
    with h5py.File(tmp_path / "w.hdf5", "w") as file:
        file.create_dataset("group/ids", data=np.arange(3))
    with pytest.raises(CheckpointError, match=r"w\.hdf5, group/ids: stored as int64, not as floating-point numbers$"):
        Hdf5Weights(tmp_path / "w.hdf5")


def test_a_digest_beside_the_file_is_checked(file):
    (file.parent / "SHA256SUMS").write_text(f"{'0' * 64}  {file.name}\n")
    with pytest.raises(CheckpointError, match="does not match its digest"):
        Hdf5Weights(file)


def test_a_failed_write_leaves_the_old_file(file):
    before = file.read_bytes()
    with pytest.raises(AttributeError):
        write_hdf5({"good": torch.ones(3), "bad": None}, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
