"""The tensors of an HDF5 file, by the path of each in its tree of groups: "CNN/W_cnn_0"."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitl.checkpoints.atomic import replacing
from minitl.checkpoints.digest import check_digests
from minitl.errors import CheckpointError


class Hdf5Weights:
    """Tensors by name; `[name]` reads one. To be used in a `with` statement, which closes the file.

    shapes   name -> shape, known without reading data
    """

    def __init__(self, path: Path) -> None:
        """CheckpointError: no such file, one that is not HDF5 or not whole, or one whose digest is another."""
        import h5py

        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        check_digests([path])
        self.shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                if item.dtype.kind != "f":
                    raise CheckpointError(f"{path}, {name}: stored as {item.dtype}, not as floating-point numbers")
                self.shapes[name] = tuple(item.shape)

        try:
            self._file = h5py.File(path, "r")
            self._file.visititems(note)
        except (OSError, RuntimeError, KeyError) as error:
            size = path.stat().st_size
            raise CheckpointError(f"{path} ({size} bytes): not a whole HDF5 file: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        try:
            return torch.from_numpy(np.asarray(self._file[name][...]))
        except (OSError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"{self.path}, {name}: cannot be read: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __enter__(self) -> "Hdf5Weights":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def write_hdf5(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Write `tensors` as float32, atomically; CheckpointError where the operating system refuses."""
    import h5py

    with replacing(path) as beside, h5py.File(beside, "w") as file:
        for name, tensor in tensors.items():
            file.create_dataset(name, data=tensor.detach().float().cpu().contiguous().numpy())
