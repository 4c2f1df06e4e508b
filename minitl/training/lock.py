"""One training at a time in a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from minitl.errors import TrainingError


@contextlib.contextmanager
def alone_in(folder: Path | None) -> Iterator[None]:
    """Hold `folder` for this process meanwhile: the folder itself, so that nothing is left in it, nor it, if new.

    The system lets it go when the process ends, however it does. Where there are no such locks (Windows), nothing is
    held. TrainingError where another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        folder = None
    if folder is None:
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = f"{folder} is in use by another training; wait for it, or name another folder"
            raise TrainingError(where) from None
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # where something was written it stays
                    folder.rmdir()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
