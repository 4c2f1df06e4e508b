"""Several processes, started by `torchrun`: PyTorch's DistributedDataParallel and FSDP2 as engines of the one loop.

    torchrun --nproc-per-node 8 -m minitl train task.toml --parallel ddp        every process holds the whole model
    torchrun --nproc-per-node 8 -m minitl train task.toml --parallel fsdp       every process holds its share of it

Each batch is dealt out example by example, so that no example is lost or read twice, and each process runs its share;
where a batch has fewer examples than there are processes, one runs an example of another's with the weight 0, for all
must take part in the exchange. Both engines bring the mean over processes of their gradients; the loop makes of it the
mean over targets, so that a step is that of one process up to rounding.
"""

import contextlib
import gc
import importlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minitl.checkpoints.sharded import write_sharded
from minitl.checkpoints.weights import saving
from minitl.errors import InputError, TrainingError
from minitl.models.base import Model
from minitl.nn.device import check_present
from minitl.tasks.task import TrainingBatch
from minitl.training.engine import ALONE, Engine, Fed
from minitl.training.feeds import FeatureFeed, Feed
from minitl.training.recomputing import blocks

T = TypeVar("T")


@contextlib.contextmanager
def started(parallel: str, device: str) -> Iterator[tuple[Engine, str]]:
    """The engine `parallel` of the processes that `torchrun` started, and this process's device; closed at the end.

    InputError where this machine has no such device, or there is no torchrun around, or it is and `parallel` is "none";
    TrainingError, naming the cause, where another process is gone in the middle.
    """
    check_present(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if parallel == "none":
        if world > 1:
            raise InputError(f"torchrun started {world} processes: say how they share the work, --parallel ddp or fsdp")
        yield ALONE, device
        return
    if "RANK" not in os.environ:
        raise InputError(f"parallel {parallel!r} needs processes: torchrun --nproc-per-node 2 -m minitl train …")
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # Its functions take the group there is when it is first imported, which DDP does, as a default argument: with one,
    # the group would outlive `destroy_process_group`, and its threads abort a process that ends in a bad moment.
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    group = dist.group.WORLD
    engine = {"ddp": DataParallel, "fsdp": FullyShared}[parallel]()
    try:
        yield engine, device
    except RuntimeError as error:
        if "peer" not in str(error).lower() and "connection" not in str(error).lower():
            raise
        raise TrainingError(
            f"process {engine.rank}: another process of this training is gone ({str(error).splitlines()[0][:120]}); "
            "the last state is whole: the same command goes on from there"
        ) from error
    finally:
        with contextlib.suppress(RuntimeError):  # the others may be gone
            dist.destroy_process_group()
        engine.release()
        gc.collect()  # modules hold each other, and the group
        del group  # last: Python waits for the group's threads without its lock, which DDP's C++ would keep from them


class Several(Engine):
    """What both engines share: numbers and objects meet by torch.distributed."""

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def share(self, indices: Sequence[T]) -> tuple[Sequence[T], float]:
        mine = indices[self.rank :: self.world]
        return (mine, 1.0) if mine else (indices[:1], 0.0)

    def together(self, mine: Tensor, weight: float) -> Tensor:
        if not weight:  # no rows, but they stay part of the graph: this process must go backward too
            mine = mine[:0]
        sizes = self.gathered(len(mine))
        padded = mine.new_zeros(max(sizes), *mine.shape[1:])
        padded[: len(mine)] = mine.detach()
        everyones = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(everyones, padded)
        rows = [tensor[:size] for tensor, size in zip(everyones, sizes, strict=True)]
        rows[self.rank] = mine
        return torch.cat(rows)

    def sums(self, *numbers: float) -> list[float]:
        values = torch.tensor(numbers, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            values = values.cuda()
        dist.all_reduce(values)
        summed: list[float] = values.tolist()
        return summed

    def gathered(self, values: T) -> list[T]:
        everyones: list[Any] = [None] * self.world
        dist.all_gather_object(everyones, values)
        return everyones

    @contextlib.contextmanager
    def staged(self, place: Path) -> Iterator[Path]:
        with contextlib.ExitStack() as last:
            stage = last.enter_context(saving(place)) if self.rank == 0 else None
            yield next(one for one in self.gathered(stage) if one is not None)
            self.wait()
        self.wait()

    def write(self, tensors: Mapping[str, Tensor], stage: Path) -> None:
        if self.rank == 0:  # all have the same
            super().write(tensors, stage)

    def wait(self) -> None:
        dist.barrier()

    def release(self) -> None:
        """Let go of what holds the processes' connections."""


class DataParallel(Several):
    """DistributedDataParallel: each process has the model, and gradients alone travel: with LoRA, the adapters'."""

    def __init__(self) -> None:
        super().__init__()
        self._connected: DistributedDataParallel | None = None

    def connect(self, model: Model, feed: Feed) -> Fed:
        # Of a fresh wrapper: what learns is looked at when it is made. Weights are alike, being loaded or drawn alike.
        module = _Fed(model, super().connect(model, feed))
        self._connected = DistributedDataParallel(
            module, init_sync=False, find_unused_parameters=_has_spare_parts(model)
        )
        return self._connected

    def meeting(self, model: Model, last: bool) -> contextlib.AbstractContextManager[Any]:  # noqa: ARG002
        assert self._connected is not None, "`connect` comes first"
        return contextlib.nullcontext() if last else self._connected.no_sync()

    def release(self) -> None:
        self._connected = None


def _has_spare_parts(model: Model) -> bool:
    """Whether its head may do without parts that it has, such as BERT's pooler: their gradients never come."""
    needed = () if model.task == "backbone" else model.family.heads[model.task].needs
    return any(getattr(model, part, None) is not None for part in set(model.key_map.optional) - set(needed))


class _Fed(nn.Module):
    """What is connected as a module, for PyTorch to look at its parameters and to be told when it runs."""

    def __init__(self, model: Model, fed: Fed) -> None:
        super().__init__()
        self.model, self.fed = model, fed

    def forward(self, indices: Sequence[int], weight: float) -> tuple[Tensor, int, TrainingBatch]:
        return self.fed(indices, weight)


class FullyShared(Several):
    """FSDP2: each process holds a part of every parameter; a layer's are brought together while it runs.

    With adapters, the base is parted like everything else, and only what learns has gradients to exchange.
    """

    def place(self, model: Model) -> None:
        from torch.distributed.fsdp import fully_shard

        for parameter in model.parameters():  # FSDP2 parts none that lies transposed, as GPT-2's are stored
            parameter.data = parameter.data.contiguous()
        for block in blocks(model):
            fully_shard(block)
        fully_shard(model, reshard_after_forward=True)  # else an evaluation would leave it whole

    def connect(self, model: Model, feed: Feed) -> Fed:
        if isinstance(feed, FeatureFeed):
            raise InputError("features of a frozen backbone are computed once, and its head is small: ddp is for that")
        if feed.task.writes:
            raise InputError(f"{feed.task.describe()['task']} lets the model write, which fsdp would wait for: use ddp")
        return super().connect(model, feed)

    def meeting(self, model: Model, last: bool) -> contextlib.AbstractContextManager[Any]:
        model.set_requires_gradient_sync(last)  # type: ignore[operator]  # FSDP's, from `place` on
        return contextlib.nullcontext()

    def write(self, tensors: Mapping[str, Tensor], stage: Path) -> None:
        write_sharded(tensors, stage)

    def whole(self, tensor: Tensor) -> Tensor:
        full = getattr(tensor, "full_tensor", None)
        return tensor if full is None else full()

    def collect(self, model: Model) -> None:
        whole: dict[int, nn.Parameter] = {}  # what is tied stays so
        for name, parameter in list(model.named_parameters(remove_duplicate=False)):
            if id(parameter) not in whole:
                whole[id(parameter)] = nn.Parameter(self.whole(parameter.detach()))
            path, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(path), attribute, whole[id(parameter)])

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.dim() == 0:  # counts of steps are whole everywhere
            return super().part(tensor, like)
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        return self.whole(super().norm(gradients))

    def release(self) -> None:
        # FSDP2 never forgets a module that it parted, so the threads live on: they need a moment to let go of what they
        # sent last, for which they take Python's lock, and a process that is ending kills whoever waits for that.
        time.sleep(0.1)
