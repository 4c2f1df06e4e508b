"""SHA-256 sums of weight files, in the format of the `sha256sum` program.

This library writes SHA256SUMS beside what it saves or pulls and checks it at every load, so that a flipped bit in the
payload, which no header can show, is found. Folders from elsewhere have no such file and load without the check.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from minitl.checkpoints.atomic import write_text
from minitl.errors import CheckpointError

FILE_NAME = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: Path, names: Iterable[str]) -> None:
    """Write SHA256SUMS for the files `names` of `folder`."""
    write_text(folder / FILE_NAME, "".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def check_digest(path: Path) -> None:
    """Compare `path` with the SHA256SUMS beside it, if that names it; CheckpointError where they differ."""
    expected = _read(path.parent).get(path.name)
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(f"{path}: the content does not match its digest in {FILE_NAME}: the file is damaged")


def _read(folder: Path) -> dict[str, str]:
    sums = folder / FILE_NAME
    if not sums.exists():
        return {}
    lines = sums.read_text(encoding="utf-8").splitlines()
    return {name.lstrip("*"): digest for digest, _, name in (line.partition("  ") for line in lines) if name}
