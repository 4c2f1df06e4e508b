"""On how many processes a training runs. One is the simplest engine; `distributed` has those of several.

What every engine keeps: a step's gradient is the sum over all targets of its window, wherever they were, divided by
their number. So the loop does the same on one process and on many.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minitl.checkpoints.sharded import SHARDS, ShardedWeights
from minitl.checkpoints.weights import Weights, saving, write_safetensors
from minitl.models.base import Model
from minitl.tasks.task import TrainingBatch
from minitl.training.feeds import Feed

TENSORS = "state.safetensors"

# From the indices and the weight of a share of a batch to its loss, the number of its targets, and what was read.
Fed = Callable[[Sequence[int], float], tuple[Tensor, int, TrainingBatch]]
T = TypeVar("T")


class Engine:
    """One process, which has everything; what several do otherwise, they override.

    rank    the number of this process, from 0
    world   how many there are
    """

    rank, world = 0, 1

    def place(self, model: Model) -> None:
        """Lay the parameters where they belong, once what learns is known and before the optimiser is made."""

    def connect(self, model: Model, feed: Feed) -> Fed:  # noqa: ARG002
        """The feed and its task's loss, whose gradients meet those of the others; again when other parameters learn."""

        def fed(indices: Sequence[int], weight: float) -> tuple[Tensor, int, TrainingBatch]:
            output, read = feed(indices)
            together = functools.partial(self.together, weight=weight)
            return *feed.task.loss_of_share(output, read.targets, together), read

        return fed

    def share(self, indices: Sequence[T]) -> tuple[Sequence[T], float]:
        """This process's part of a batch, and its weight: 0 where there is none for it, and it runs another's."""
        return indices, 1.0

    def together(self, mine: Tensor, weight: float) -> Tensor:  # noqa: ARG002
        """The rows [n, …] of all processes' tensors, the first's first, without those of the weight 0; gradients flow
        through this process's own."""
        return mine

    def meeting(self, model: Model, last: bool) -> contextlib.AbstractContextManager[Any]:  # noqa: ARG002
        """Around each batch of a window: gradients meet at the `last` one only."""
        return contextlib.nullcontext()

    def sums(self, *numbers: float) -> list[float]:
        """Each number, summed over the processes."""
        return list(numbers)

    def gathered(self, values: T) -> list[T]:
        """What each process has, the first's first."""
        return [values]

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of which each process holds a part."""
        return tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The reverse of `whole`: laid out like a parameter of its shape, which may be a transposed view.

        Always a copy: `tensor` may be a view of a file. Fused AdamW reads a parameter and its moments side by side, as
        they lie.
        """
        if tensor.shape != like.shape:
            return tensor.to(like.device, copy=True)
        return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """The norm of the whole gradient: a scalar."""
        return torch.nn.utils.get_total_norm(gradients)

    def collect(self, model: Model) -> None:
        """Give each process the whole of every parameter, to be saved; the model runs no more after that."""

    @contextlib.contextmanager
    def staged(self, place: Path) -> Iterator[Path]:
        """A folder to write into, the same for all; it becomes `place` in one rename, once all are done."""
        with saving(place) as stage:
            yield stage

    def write(self, tensors: Mapping[str, Tensor], stage: Path) -> None:
        """Write tensors into a staged folder, for `open_tensors`."""
        write_safetensors({name: tensor.cpu() for name, tensor in tensors.items()}, stage / TENSORS)

    def wait(self) -> None:
        """Until all have come here."""


ALONE = Engine()


def open_tensors(place: Path) -> Weights | ShardedWeights:
    """What the `write` of any engine wrote; CheckpointError where it is damaged."""
    return ShardedWeights(place) if (place / SHARDS).exists() else Weights({place / TENSORS: None})


def parameter_names(model: nn.Module, parameters: Sequence[nn.Parameter]) -> set[str]:
    """What the model calls these parameters."""
    held = {id(p) for p in parameters}
    return {name for name, p in model.named_parameters() if id(p) in held}
