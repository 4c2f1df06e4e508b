"""Tensors of which each process holds a part, by torch.distributed.checkpoint.

    FOLDER/shards/    __0_0.distcp …    the parts, one file or more a process
                      .metadata         which part is where (a pickle of torch's own, read by torch alone)

Read by any number of processes, also by one without a process group: a tensor is put together when it is asked for.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from minitl.checkpoints.digest import check_digests
from minitl.errors import CheckpointError

SHARDS = "shards"


def write_sharded(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write the parts that this process holds; all processes call, with the same names."""
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(dict(tensors), checkpoint_id=folder / SHARDS)
    except OSError as error:
        raise CheckpointError(f"{folder / SHARDS}: cannot be written: {error}") from error


class ShardedWeights:
    """Tensors by name, as `Weights` gives them. CheckpointError: a damaged file."""

    def __init__(self, folder: Path) -> None:
        from torch.distributed.checkpoint.filesystem import FileSystemReader

        self.folder = folder / SHARDS
        check_digests(sorted(self.folder.glob("*.distcp")))
        try:
            metadata = FileSystemReader(self.folder).read_metadata()
        except Exception as error:  # unpickling a damaged file raises whatever it likes
            raise CheckpointError(f"{self.folder}: its .metadata cannot be read: {error}") from error
        self._known = metadata.state_dict_metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> Tensor:
        from torch.distributed.checkpoint.metadata import TensorStorageMetadata
        from torch.distributed.checkpoint.state_dict_loader import load

        known = self._known[name]
        assert isinstance(known, TensorStorageMetadata)  # nothing else is written
        tensor = torch.empty(known.size, dtype=known.properties.dtype)
        logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)  # it remarks on `no_dist` each time
        load({name: tensor}, checkpoint_id=self.folder, no_dist=True)
        return tensor
