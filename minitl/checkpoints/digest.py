"""SHA-256 sums of files, in the format of the `sha256sum` program.

This library writes SHA256SUMS beside what it saves or pulls and checks weight files against it at every load, so that a
flipped bit in the payload, which no header can show, is found. Folders from elsewhere have no such file and load
without the check.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minitl.checkpoints.atomic import write_text
from minitl.errors import CheckpointError

FILE_NAME = "SHA256SUMS"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_digests(folder: Path) -> dict[str, str]:
    """File name → digest, as SHA256SUMS of `folder` has it; empty without that file. CheckpointError: a damaged one."""
    sums = folder / FILE_NAME
    if not sums.exists():
        return {}
    digests = {}
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise CheckpointError(f"{sums}, line {number}: expected a SHA-256 sum and a file name, got {line[:80]!r}")
        digests[match["name"]] = match["digest"]
    return digests


def write_digests(folder: Path, names: Iterable[str], kept: Mapping[str, str] | None = None) -> None:
    """Write SHA256SUMS for the files `names` of `folder`, and the digests `kept` of files that are known already."""
    digests = {**(kept or {}), **{name: sha256(folder / name) for name in names}}
    write_text(folder / FILE_NAME, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def check_digests(paths: Sequence[Path]) -> None:
    """Compare `paths` with the SHA256SUMS beside them; CheckpointError for the first that differs.

    A file that SHA256SUMS does not name passes. hashlib lets other threads run, so that shards are hashed side by side.
    """
    expected = {folder: read_digests(folder) for folder in {path.parent for path in paths}}
    listed = [path for path in paths if path.name in expected[path.parent] and path.exists()]
    if not listed:
        return
    with ThreadPoolExecutor(min(len(listed), os.cpu_count() or 1)) as pool:
        for path, digest in zip(listed, pool.map(sha256, listed), strict=True):
            if digest != expected[path.parent][path.name]:
                raise CheckpointError(
                    f"{path}: the content does not match its digest in {FILE_NAME}: the file is damaged "
                    f"(or was replaced on purpose: then remove {FILE_NAME})"
                )
