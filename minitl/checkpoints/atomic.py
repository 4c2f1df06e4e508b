"""Write beside, then rename: a reader sees the old file or the new one, never half of one."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minitl.errors import CheckpointError


def check_writable(folder: str | Path) -> None:
    """CheckpointError unless files can be written into `folder`, which need not exist; nothing is left behind.

    For the beginning of long work, whose result would have no place at its end.
    """
    folder = Path(folder).absolute()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=f".{folder.name}.", suffix=".partial"):
            pass
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; on a clean exit flush it to disk and rename it to `path`.

    On any failure (a full disk, an interrupt) the temporary file is removed and `path` is left as it was.
    Raises CheckpointError, naming the file, when the operating system refuses the write.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write here: {error.strerror or error}") from error
    beside = Path(name)
    try:
        yield beside
        _flush(beside)
        make_public(beside)  # mkstemp makes private files
        os.replace(beside, path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def make_public(file: Path) -> None:
    """Let read `file` whoever may read what is usually written here: a checkpoint is as public as its folder."""
    os.chmod(file, 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def staged_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty, private folder; on a clean exit move its files into `folder`, replacing older ones.

    On any failure the staged files are removed and `folder` is left as it was. A new `folder` appears in one rename;
    into an older one the files move one by one, in the order of their names, and if one cannot, those before it are
    put back. Only a process that is killed between the first and the last leaves a mixture.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Inside an older folder, which may be a mount of its own: files cannot be renamed across file systems.
        home = folder if folder.exists() else folder.parent
        stage = Path(tempfile.mkdtemp(dir=home, prefix=f".{folder.name}.", suffix=".partial"))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write here: {error.strerror or error}") from error
    try:
        yield stage
        files = sorted(file for file in stage.rglob("*") if file.is_file())
        for file in files:
            _flush(file)
        stage.chmod(0o777 & ~_umask())
        if folder.exists():
            _move_all_or_none(files, stage, folder)
        else:
            os.rename(stage, folder)
    except OSError as error:
        place = error.filename2 or folder  # of a file that could not be moved, where to
        raise CheckpointError(f"{place}: cannot be written: {error.strerror or error}") from error
    except CheckpointError as error:  # name the file that was meant, not the one that is gone in a moment
        raise CheckpointError(str(error).replace(str(stage), str(folder))) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move_all_or_none(files: Sequence[Path], stage: Path, folder: Path) -> None:
    """Move `files` from `stage` to the same places in `folder`; what they replace is kept until the last has moved."""
    kept = Path(tempfile.mkdtemp(dir=stage))
    with contextlib.ExitStack() as undo:
        for number, file in enumerate(files):
            target = folder / file.relative_to(stage)
            for parent in reversed(target.parents):
                if not parent.exists():
                    parent.mkdir()
                    undo.callback(parent.rmdir)
            if target.is_file() or target.is_symlink():
                old = kept / str(number)
                _keep(target, old)
                undo.callback(os.replace, old, target)
                os.replace(file, target)
            else:
                os.replace(file, target)
                undo.callback(target.unlink)
        undo.pop_all()  # all have moved


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that it outlives its replacement and `path` is never without one."""
    try:
        os.link(path, name, follow_symlinks=False)
    except (OSError, NotImplementedError):  # not every file system has second names
        os.replace(path, name)


def _flush(path: Path) -> None:
    """Have the operating system put the file on the disk before its name changes: a crash then leaves no empty file."""
    with open(path, "rb") as written:
        os.fsync(written.fileno())
