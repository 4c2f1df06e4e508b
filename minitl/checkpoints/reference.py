"""Which checkpoints the tests of published outputs need, and which of them are quickly fetched."""

from minitl.checkpoints.hub import size
from minitl.checkpoints.manifest import manifest
from minitl.errors import CheckpointError

LIMIT = 500 * 10**6  # bytes of weights
SMALLEST_NUMBER = 2  # bytes: no file of the manifest's holds numbers in less than half precision


def small_references() -> tuple[dict[str, int], dict[str, CheckpointError]]:
    """Short name → bytes, as the hub says, of the reference checkpoints of at most LIMIT; and those it says nothing of.

    The hub is not asked about those that the manifest alone shows to be larger, some of which need an account.
    """
    sizes: dict[str, int] = {}
    failed: dict[str, CheckpointError] = {}
    for name, entry in manifest().items():
        if not entry.get("reference") or entry.get("parameters", 0) * SMALLEST_NUMBER > LIMIT:
            continue
        try:
            sizes[name] = size(name)
        except CheckpointError as error:
            failed[name] = error
    return {name: bytes_ for name, bytes_ in sizes.items() if bytes_ <= LIMIT}, failed
