"""What probes read: the vectors at an example's places, in all layers at once.

    values [layers, n, size]      each vector that any example needs, once, standardised
    places [examples, …]          which of them an example reads; -1 where there is nothing (padding)
    layers [layers read]          of which layers; None = all

A linear probe reads one vector an example, a span probe each vector of its places, a structural probe a whole text's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minitl.probing.representations import Representations
from minitl.probing.task import Examples, Split, Task

NOTHING = -1
ROOM = 2 * 2**30  # bytes of vectors in memory at a time: layers are taken in groups that fit


class Buffer:
    """Memory that is written again and again: fresh pages cost a step more than what is copied into them."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def __call__(self, rows: int, size: int) -> Tensor:
        """[rows, size], with what the last call's holder left there."""
        if self._memory.numel() < rows * size:
            self._memory = torch.empty(rows * size)
        return self._memory[: rows * size].view(rows, size)


@dataclass(frozen=True, eq=False)
class Vectors:
    """buffer   where what a call gives is put, to be used before the next call; None = it is the caller's own"""

    values: Tensor
    places: Tensor
    layers: Tensor | None = None
    buffer: Buffer | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Examples [seeds, batch] -> vectors [layers, seeds, batch, …, size], and where there is one [seeds, batch, …].

        Each layer's rows are copied as they lie, so that what a probe multiplies is contiguous.
        """
        _, count, size = self.values.shape
        layers = torch.arange(len(self.values)) if self.layers is None else self.layers
        places = self.places[indices]
        rows = (layers[:, None] * count + places.clamp(min=0).flatten()).flatten()
        found = None if self.buffer is None else self.buffer(len(rows), size)
        found = torch.index_select(self.values.view(-1, size), 0, rows, out=found)
        return found.view(len(layers), *places.shape, size), places != NOTHING

    def take(self, examples: Tensor) -> "Vectors":
        """Some of the examples, by number."""
        return replace(self, places=self.places[examples])

    def of_layers(self, layers: Tensor) -> "Vectors":
        """Some of the layers that are read, by number."""
        return replace(self, layers=layers if self.layers is None else self.layers[layers])

    @property
    def depth(self) -> int:
        """How many layers are read."""
        return len(self.values if self.layers is None else self.layers)


def layer_groups(count: int, bytes_a_layer: int, room: int) -> list[slice]:
    """Consecutive layers, as many as fit into `room` bytes together, at least one."""
    size = max(1, min(count, room // max(1, bytes_a_layer)))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def standardize(train: Tensor, others: Sequence[Tensor]) -> None:
    """Bring each dimension to mean 0 and deviation 1 on the training part; tensors [layers, n, size], in place.

    Layers differ in scale by orders of magnitude, and within one a few dimensions outweigh the rest, so that no one
    learning rate would suit all, and the weights of a mix would say which layer is long instead of which one is useful.
    A linear map loses nothing by it. A dimension that does not vary is left at 0.
    """
    for layer, values in enumerate(train):
        deviation, mean = torch.std_mean(values, 0, correction=0)  # [size]
        constant = deviation <= 1e-6 * mean.abs()  # what rounding leaves of a constant
        scale = torch.where(constant, 0.0, 1 / deviation.masked_fill(constant, 1.0))
        for tensor in (train, *others):
            tensor[layer].sub_(mean).mul_(scale)


def pooled(
    representations: Representations, task: Task, splits: Mapping[Split, Examples], layers: slice
) -> dict[Split, Vectors]:
    """One vector an example: the mean over a place, or for two places u and v the four parts [u; v; u·v; |u - v|].

    Of [u; v] alone a linear probe can only add what u says to what v says; whether the two agree or are near, which is
    what most relations are about, takes products and differences (Conneau et al. 2017, arXiv:1705.02364, section 3.1).
    """
    values = {split: _combined(_means(representations, task, part, layers)) for split, part in splits.items()}
    standardize(values["train"], [v for split, v in values.items() if split != "train"])
    buffer = Buffer()
    return {split: Vectors(v, torch.arange(v.shape[1]), buffer=buffer) for split, v in values.items()}


def _means(representations: Representations, task: Task, examples: Examples, layers: slice) -> Tensor:
    """[layers, examples, places, hidden]"""
    spans = examples.spans.flatten(0, 1)  # [examples · places, 2]
    lengths = spans[:, 1] - spans[:, 0]
    owner = torch.repeat_interleave(torch.arange(len(spans)), lengths)
    found = _look_up(representations, task, _inside(spans), layers)  # [layers, all of all spans, hidden]
    if len(owner) > len(spans):
        sums = found.new_zeros(len(found), len(spans), found.shape[-1])
        found = sums.index_add_(1, owner, found).div_(lengths[:, None])
    return found.unflatten(1, examples.spans.shape[:2])


def _combined(x: Tensor) -> Tensor:
    """[layers, examples, places, hidden] -> [layers, examples, hidden or 4 · hidden]"""
    if x.shape[2] == 1:
        return x[:, :, 0]
    u, v = x.unbind(2)
    return torch.cat((u, v, u * v, (u - v).abs()), dim=-1)


def spanned(
    representations: Representations, task: Task, splits: Mapping[Split, Examples], layers: slice
) -> dict[Split, Vectors]:
    """Every vector of every place: places [examples, places, longest]."""
    found: dict[Split, Vectors] = {}
    for split, examples in splits.items():
        spans = examples.spans  # [examples, places, 2]
        longest = int((spans[..., 1] - spans[..., 0]).max())
        numbers = spans[..., :1] + torch.arange(longest)
        found[split] = looked_up(
            representations, task.reads == "words", numbers.masked_fill(numbers >= spans[..., 1:], NOTHING), layers
        )
    standardize(found["train"].values, [v.values for split, v in found.items() if split != "train"])
    return found


def looked_up(representations: Representations, words: bool, numbers: Tensor, layers: slice) -> Vectors:
    """The vectors of words or texts by their `numbers` in the corpus, each kept once; NOTHING stays as it is."""
    needed, places = numbers[numbers != NOTHING].unique(return_inverse=True)
    values = representations.words(needed, layers) if words else representations.texts(needed, layers)
    table = torch.full_like(numbers, NOTHING)
    table[numbers != NOTHING] = places
    return Vectors(values, table, buffer=Buffer())


def _look_up(representations: Representations, task: Task, numbers: Tensor, layers: slice) -> Tensor:
    return representations.words(numbers, layers) if task.reads == "words" else representations.texts(numbers, layers)


def _inside(spans: Tensor) -> Tensor:
    """All numbers that lie in spans [n, 2], span after span."""
    lengths = spans[:, 1] - spans[:, 0]
    first = torch.repeat_interleave(spans[:, 0] - lengths.cumsum(0) + lengths, lengths)
    return first + torch.arange(int(lengths.sum()))
