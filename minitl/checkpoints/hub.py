"""From a source, a local folder or a hub id, to a folder on disk."""

from pathlib import Path

from minitl.errors import CheckpointError


def resolve(source: str | Path, *, revision: str | None = None) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    raise CheckpointError(f"{source}: no such folder")
