"""What a task's probes are trained on: the examples whose places have vectors, and these vectors, standardised.

    representations ─┐
    task ────────────┴─ gather ─► Material ─┬─ sweep: a probe a layer
                                            ├─ sweep: mixes of all layers
                                            └─ online_code: the labels' code

All probes of a task read the same vectors, so they are gathered once, where those of all layers fit into memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch

from minitl.probing.checks import answerable, check_corpus, check_task, some
from minitl.probing.representations import Representations
from minitl.probing.task import SPLITS, Examples, Split, Task
from minitl.probing.vectors import ROOM, Vectors, layer_groups, pooled, spanned

FLOAT = 4  # bytes


@dataclass(frozen=True, eq=False)
class Material:
    """What `gather` returns.

    task       which
    layers     of the representations
    splits     the examples that can be answered
    left_out   how many had no vectors, a split
    reads      "pooled", one vector an example, or "spanned", every vector of its places, as the probe reads
    room       bytes of vectors that may be in memory
    """

    representations: Representations
    task: Task
    splits: Mapping[Split, Examples]
    left_out: Mapping[Split, int]
    reads: Literal["pooled", "spanned"]
    room: int

    @property
    def layers(self) -> tuple[int, ...]:
        return self.representations.layers

    @cached_property
    def whole(self) -> dict[Split, Vectors]:
        """The vectors of all layers, standardised on the training part; kept."""
        return self._read(slice(None))

    def groups(self) -> Iterator[dict[Split, Vectors]]:
        """The same, some layers at a time where not all fit into `room`."""
        parts = layer_groups(len(self.layers), self._bytes_a_layer(), self.room)
        yield from [self.whole] if len(parts) == 1 else map(self._read, parts)

    def with_all_layers(self) -> "Material":
        """The first examples of each split, as many as fit into `room` with all layers at once; itself where all do."""
        share = self.room / (self._bytes_a_layer() * len(self.layers))
        if share >= 1:
            return self
        kept = {split: some(part, torch.arange(max(1, int(share * len(part))))) for split, part in self.splits.items()}
        return replace(self, splits=kept)

    def _read(self, layers: slice) -> dict[Split, Vectors]:
        read = pooled if self.reads == "pooled" else spanned
        return read(self.representations, self.task, self.splits, layers)

    def _bytes_a_layer(self) -> int:
        """Of two places, the parts and their combination are there."""
        each = 1 if self.task.places == 1 else 2 + 4
        return sum(len(self.splits[split]) for split in SPLITS) * each * self.representations.hidden * FLOAT


def gather(
    representations: Representations, task: Task, reads: Literal["pooled", "spanned"] = "pooled", room: int = ROOM
) -> Material:
    """The material of `task` in `representations`, for probes that read so. Errors as in `check_task`, `check_corpus`,
    `answerable`."""
    check_task(task)
    check_corpus(representations, task.corpus, task.name)
    splits, left_out = answerable(representations, task)
    return Material(representations, task, splits, left_out, reads, room)
