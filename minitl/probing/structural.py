"""The structural probe: whether a linear map of its words' vectors turns a text into its syntax tree.

    distance   d_B(h_i, h_j)² = |B (h_i - h_j)|²  ≈  edges between words i and j      (Hewitt & Manning 2019, N19-1419,
    depth      |B h_i|²                           ≈  edges from word i to the root     sections 2.2 and 2.3)

    loss = mean over texts of  1/n² Σ_ij |d_T(i, j) - d_B(h_i, h_j)²|,   or  1/n Σ_i ||w_i| - |B h_i|²|

A map for each layer and seed, all trained at once. From the distances a tree is decoded without directions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from minitl.errors import DataError
from minitl.probing.checks import check_corpus
from minitl.probing.probes import Parameters
from minitl.probing.regimen import Part, Regimen
from minitl.probing.representations import Representations
from minitl.probing.task import SPLITS, Split, TreeTask
from minitl.probing.trees import depths_of, distances_of
from minitl.probing.vectors import NOTHING, Vectors, looked_up, standardize

# Batches of 20 sentences, as published. The published rate, 0.001, is for vectors as they are; on standardised ones
# 0.01 came to lower validation losses in all layers of MiniLM (600 sentences of UD English EWT).
REGIMEN = Regimen(batch_size=20, learning_rate=1e-2, weight_decay=0.0)
INITIAL = 0.05  # a fresh map is uniform within it
BATCHES_PER_POOL = 4  # texts of so many batches change places: more would pad more

Measure = Literal["distance", "depth"]


@dataclass(frozen=True, eq=False)
class Trees:
    """Texts of one split.

    vectors    places [texts, longest]
    lengths    [texts]
    scored     of each text: which words are judged
    distances  of each text, float32 [n, n]
    depths     of each text, float32 [n]
    """

    vectors: Vectors
    lengths: Tensor
    scored: tuple[Tensor, ...]
    distances: tuple[Tensor, ...]
    depths: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class StructuralLearner:
    """measure   which of the two is learnt
    rank      rows of B
    """

    measure: Measure
    rank: int
    seeds: tuple[int, ...]
    parts: Mapping[Split, Trees]

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.parts["train"].vectors.depth, len(self.seeds)

    def count(self, part: Part) -> int:
        return len(self.parts[part].lengths)

    def new(self, generator: Generator) -> Parameters:
        size = self.parts["train"].vectors.values.shape[-1]
        return {"map.weight": torch.empty(size, self.rank).uniform_(-INITIAL, INITIAL, generator=generator)}

    def order(self, generator: Generator, turn: int, batch_size: int) -> Tensor:
        """Texts of like length together, for padding costs what words cost.

        The texts by length are cut into pools of some batches, and shuffled within these by `generator`. Which batch
        comes when is drawn from `turn` alone: all seeds are then at texts of one length at a time.
        """
        pools = self.parts["train"].lengths.argsort(stable=True).split(BATCHES_PER_POOL * batch_size)
        texts = torch.cat([pool[torch.randperm(len(pool), generator=generator)] for pool in pools])
        *batches, last = texts.split(batch_size)
        turns = torch.randperm(len(batches), generator=Generator().manual_seed(turn))
        return torch.cat([*(batches[i] for i in turns.tolist()), last])  # the last may be short

    def kept(self, questions: Tensor, layers: Tensor, seeds: Tensor) -> "StructuralLearner":  # noqa: ARG002
        return replace(
            self,
            seeds=tuple(self.seeds[seed] for seed in seeds.tolist()),
            parts={s: replace(trees, vectors=trees.vectors.of_layers(layers)) for s, trees in self.parts.items()},
        )

    def losses(self, parameters: Parameters, part: Part, indices: Tensor) -> Tensor:
        said, real = self.said(parameters, part, indices)
        n = real.shape[-1]
        off = (said - self._true(part, indices, n)).abs()
        lengths = real.sum(-1)  # [seeds or 1, batch]
        if self.measure == "depth":
            return (off * real).sum(-1) / lengths
        apart = real[..., :, None] & real[..., None, :] & ~torch.eye(n, dtype=torch.bool)
        return (off * apart).sum((-1, -2)) / lengths**2

    def _true(self, part: Part, indices: Tensor, n: int) -> Tensor:
        """[seeds or 1, batch, n, n] or [seeds or 1, batch, n], 0 where there is no word."""
        trees = self.parts[part]
        known = trees.depths if self.measure == "depth" else trees.distances
        padded = torch.zeros(indices.numel(), *[n] * known[0].dim())
        for row, text in zip(padded, indices.flatten().tolist(), strict=True):
            own = known[text]
            row[tuple(slice(size) for size in own.shape)] = own
        return padded.unflatten(0, indices.shape)

    def said(self, parameters: Parameters, part: Split, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances [1, layers, seeds, batch, n, n] or depths [1, layers, seeds, batch, n] of texts, and where
        there are words [seeds or 1, batch, n]; n is the longest of these texts."""
        vectors = self.parts[part].vectors
        longest = int(self.parts[part].lengths[indices].max())
        x, real = replace(vectors, places=vectors.places[:, :longest])(indices)
        mapped = torch.einsum("lsnh,qlshr->qlsnr", x.flatten(2, 3), parameters["map.weight"])
        mapped = mapped.unflatten(3, real.shape[1:])  # [1, layers, seeds, batch, n, rank]
        lengths = mapped.square().sum(-1)
        if self.measure == "depth":
            return lengths, real
        products = mapped @ mapped.transpose(-1, -2)  # |a - b|² = |a|² + |b|² - 2ab needs no [n, n, rank]
        return lengths[..., :, None] + lengths[..., None, :] - 2 * products, real


def read_trees(
    representations: Representations, task: TreeTask, layers: slice = slice(None)
) -> tuple[dict[Split, Trees], dict[Split, int]]:
    """The trees of each split with the vectors of their words, and how many texts have none and are left out.

    DataError: a split without texts, a text number out of range, heads that are no tree within a text.
    """
    check_corpus(representations, task.corpus, task.name)
    count = int(task.corpus.starts[-1])
    if task.heads.shape != (count,) or task.scored.shape != (count,):
        raise DataError(f"task {task.name!r}: heads and scored must be [{count}], one for each word of the corpus")
    parts: dict[Split, Trees] = {}
    left_out: dict[Split, int] = {}
    for split in SPLITS:
        texts = task.splits.get(split, torch.zeros(0, dtype=torch.long))
        where = f"task {task.name!r}, {split} split"
        if len(texts) == 0 or int(texts.min()) < 0 or int(texts.max()) >= len(task.corpus.texts):
            raise DataError(f"{where}: expected text numbers from 0 to {len(task.corpus.texts) - 1}, got {len(texts)}")
        readable = representations.readable[texts]
        left_out[split] = int((~readable).sum())
        if not readable.any():
            raise DataError(f"{where}: none of its texts could be read")
        parts[split] = _trees(representations, task, texts[readable], layers, where)
    standardize(parts["train"].vectors.values, [parts[split].vectors.values for split in SPLITS if split != "train"])
    return parts, left_out


def _trees(representations: Representations, task: TreeTask, texts: Tensor, layers: slice, where: str) -> Trees:
    starts, ends = task.corpus.starts[texts], task.corpus.starts[texts + 1]
    lengths = ends - starts
    longest = int(lengths.max())
    numbers = starts[:, None] + torch.arange(longest)
    vectors = looked_up(representations, True, numbers.masked_fill(numbers >= ends[:, None], NOTHING), layers)
    scored, distances, depths = [], [], []
    for text, start, end in zip(texts.tolist(), starts.tolist(), ends.tolist(), strict=True):
        own = task.heads[start:end]
        own = torch.where(own < 0, -1, own - start)
        stray = ((own < 0) & (task.heads[start:end] >= 0)).any()
        if stray:
            raise DataError(f"{where}, text {text}: a word hangs on a word of another text")
        distances.append(torch.from_numpy(distances_of(own.numpy(), f"{where}, text {text}")).float())
        depths.append(torch.from_numpy(depths_of(own.numpy(), f"{where}, text {text}")).float())
        scored.append(task.scored[start:end])
    return Trees(vectors, lengths, tuple(scored), tuple(distances), tuple(depths))
