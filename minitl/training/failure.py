"""What a training that diverged read last, kept so that one can look at it.

OUT/diverged/    batches.safetensors   inputs.B.NAME and targets.B.NAME of each batch B of the step
                 facts.json            the step, what was wrong, and which items of the training they were
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import saving, write_safetensors
from minitl.training.feeds import Feed

DIVERGED = "diverged"


def save_batches(folder: Path, feed: Feed, window: Sequence[Sequence[int]], facts: dict[str, Any]) -> Path:
    """Write them into `folder`; returns where. What a task draws of them is drawn again, and may be another."""
    tensors: dict[str, Tensor] = {}
    for number, indices in enumerate(window):
        batch = feed.task.collate([feed.items[i] for i in indices])
        for part, named in zip(("inputs", "targets"), batch, strict=True):
            tensors |= {f"{part}.{number}.{name}": tensor for name, tensor in named.items()}
    place = folder / DIVERGED
    with saving(place) as stage:
        write_safetensors(tensors, stage / "batches.safetensors")
        write_json(stage / "facts.json", {**facts, "items": [list(indices) for indices in window]})
    return place
