"""Which checkpoint was run: one of the project's own can be taught anew, and keeps its name."""

from functools import partial

from minitl.checkpoints.digest import sha256
from minitl.checkpoints.hub import resolve
from minitl.experiments.experiment import here


def weights_of(source: str) -> list[str]:
    """The beginnings of the SHA-256 sums of a checkpoint's weights, file by file; NotHere where there is none."""
    return [sha256(file)[:16] for file in sorted(here(partial(resolve, source)).glob("*.safetensors"))]
