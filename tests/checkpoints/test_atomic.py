import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from minitl.checkpoints.atomic import check_writable, replacing, staged_folder, write_json, write_text
from minitl.errors import CheckpointError
from minitl.models.loading import load_model, new_model, save_model

TINY = {"model_type": "gpt2", "vocab_size": 64, "n_positions": 8, "n_embd": 64, "n_layer": 2, "n_head": 2}


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_written_whole_and_as_public_as_its_folder(tmp_path):
    write_json(tmp_path / "new" / "x.json", {"é": 1})
    assert (tmp_path / "new" / "x.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new" / "x.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_place_is_found_writable_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path, tmp_path / "new" / "deep"):
        check_writable(folder)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=f"{folder}: cannot write here: Not a directory"):
            check_writable(folder)
    assert content(tmp_path) == {"file": b"mine"}
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_someone_else_is_not_writable(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(CheckpointError, match="cannot write here: Permission denied"):
        check_writable(tmp_path / "new")


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    write_text(tmp_path / "x", "old")

    def fail():
        with replacing(tmp_path / "x") as beside:
            beside.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert content(tmp_path) == {"x": b"old"}


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path, failure, exists):
    if exists:
        write_text(tmp_path / "folder" / "x", "old")
    before = content(tmp_path)

    def fail():
        with staged_folder(tmp_path / "folder") as stage:
            (stage / "x").write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert content(tmp_path) == before
    assert (tmp_path / "folder").exists() == exists


def test_a_staged_folder_replaces_its_files_alone(tmp_path):
    write_text(tmp_path / "folder" / "kept", "1")
    write_text(tmp_path / "folder" / "sub" / "x", "old")
    with staged_folder(tmp_path / "folder") as stage:
        write_text(stage / "sub" / "x", "new")
        write_text(stage / "sub" / "y", "new")
    assert content(tmp_path / "folder") == {"kept": b"1", "sub/x": b"new", "sub/y": b"new"}


def refuse(*_paths, **_options):
    raise PermissionError("there are no hard links on this file system")


@pytest.mark.parametrize("links", [True, False], ids=["with-hard-links", "without"])
@pytest.mark.parametrize("in_the_way", ["a", "b", "new/deep/x", "z"])
def test_a_file_that_cannot_be_replaced_has_the_others_put_back(tmp_path, in_the_way, links, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    names = ["a", "b", "new/deep/x", "sub/c", "z"]
    folder = tmp_path / "folder"
    for name in ("a", "sub/c", "kept"):
        write_text(folder / name, "old")
    (folder / in_the_way).unlink(missing_ok=True)
    (folder / in_the_way).mkdir(parents=True)
    before, places = content(folder), sorted(folder.rglob("*"))

    def write_all():
        with staged_folder(folder) as stage:
            for name in names:
                write_text(stage / name, "new")

    with pytest.raises(CheckpointError, match=f"{folder / in_the_way}: cannot be written: Is a directory"):
        write_all()
    assert content(folder) == before
    assert sorted(folder.rglob("*")) == places
    (folder / in_the_way).rmdir()
    write_all()
    assert content(folder) == {"kept": b"old", **dict.fromkeys(names, b"new")}


def test_a_save_that_cannot_replace_the_weights_leaves_the_old_checkpoint_whole(tmp_path):
    folder = tmp_path / "saved"
    save_model(new_model(TINY), folder, max_shard_bytes=20_000)
    (folder / "model.safetensors").mkdir()
    before = content(folder)
    with pytest.raises(CheckpointError, match=f"{folder}/model.safetensors: cannot be written"):
        save_model(new_model({**TINY, "n_layer": 1}), folder)
    assert content(folder) == before
    assert [path.name for path in folder.iterdir() if path.name.endswith(".partial")] == []
    assert load_model(folder).config.n_layer == 2


SAVE_SMALL = f"""
import resource, sys
from minitl.errors import CheckpointError
from minitl.models.loading import new_model, save_model

model = new_model({TINY!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # bytes a file may have
try:
    save_model(model, sys.argv[1])
except CheckpointError as error:
    print(error)
"""


def test_a_file_that_may_not_grow_leaves_the_old_checkpoint_whole(tmp_path):
    save_model(new_model(TINY), tmp_path / "saved")
    before = content(tmp_path)
    command = [sys.executable, "-c", SAVE_SMALL, str(tmp_path / "saved")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{tmp_path / 'saved' / 'model.safetensors'}: cannot be written" in said
    assert content(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs to be root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux")
@pytest.mark.parametrize("free", [200_000, 1000, 0])
def test_a_full_disk_leaves_the_old_checkpoint_whole(small_disk, free):
    save_model(new_model(TINY), small_disk / "saved")  # 0.4 MB: there is no room for a second
    left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"x" * max(0, left - free))
    before = content(small_disk)
    with pytest.raises(CheckpointError, match="cannot"):
        save_model(new_model(TINY), small_disk / "saved")
    with pytest.raises(CheckpointError, match="cannot"):
        save_model(new_model(TINY), small_disk / "other")
    assert content(small_disk) == before
    assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "saved"]


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux")
def test_the_folder_may_be_a_disk_of_its_own(small_disk):
    save_model(new_model(TINY), small_disk)
    assert "model.safetensors" in content(small_disk)


@contextlib.contextmanager
def as_nobody():
    """File rights do not bind root: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_named():
    model = new_model(TINY)
    with tempfile.TemporaryDirectory() as name:
        save_model(model, Path(name) / "saved")  # everything that saving imports is imported
        before = content(Path(name))
        for folder in (Path(name) / "saved", Path(name)):
            folder.chmod(0o555)
        try:
            for target in ("saved", "new"):
                with pytest.raises(CheckpointError, match="cannot write here: Permission denied"), as_nobody():
                    save_model(model, Path(name) / target)
        finally:
            Path(name).chmod(0o755)
            (Path(name) / "saved").chmod(0o755)
        assert content(Path(name)) == before


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in ("file", "file/below"):
        with pytest.raises(CheckpointError, match="cannot write here"):
            save_model(new_model(TINY), tmp_path / target)
    assert content(tmp_path) == {"file": b"mine"}
