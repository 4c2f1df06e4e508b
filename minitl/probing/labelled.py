"""Probes of a task with labels or scores, as `train` trains them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minitl.probing.probes import Parameters, Probe, Sizes
from minitl.probing.regimen import EVALUATED, Part
from minitl.probing.task import Split
from minitl.probing.vectors import Vectors


@dataclass(frozen=True)
class LabelledLearner:
    """probe      what is trained, one for each question, layer and seed
    seeds      one for each place of the last dimension
    vectors    of the examples of each split
    targets    [questions, seeds, examples] for each split: classes, or scores as they are to be said
    classes    how many; None where the answer is a score
    """

    probe: Probe
    seeds: tuple[int, ...]
    vectors: Mapping[Split, Vectors]
    targets: Mapping[Split, Tensor]
    classes: int | None

    @property
    def shape(self) -> tuple[int, int, int]:
        layers = self.vectors["train"].values.shape[0]
        return len(self.targets["train"]), self.probe.rows(layers), len(self.seeds)

    def count(self, part: Split) -> int:
        return len(self.vectors[part])

    def new(self, generator: Generator) -> Parameters:
        vectors = self.vectors["train"]
        layers, _, size = vectors.values.shape
        places = vectors.places.shape[1] if vectors.places.dim() > 1 else 1
        return self.probe.new(Sizes(layers, places, size, self.classes or 1), generator)

    def order(self, generator: Generator, turn: int, batch_size: int) -> Tensor:  # noqa: ARG002
        return torch.randperm(self.count("train"), generator=generator)

    def losses(self, parameters: Parameters, part: Part, indices: Tensor) -> Tensor:
        """Cross-entropy of classes in nats, squared error of scores."""
        return self._losses(self.outputs(parameters, part, indices), part, indices)

    def outputs(self, parameters: Parameters, part: Split, indices: Tensor) -> Tensor:
        """Logits or scores of the examples [seeds or 1, batch]: [questions, layers, seeds, batch, outputs]."""
        return self.probe(parameters, *self.vectors[part](indices))

    def _losses(self, outputs: Tensor, part: Split, indices: Tensor) -> Tensor:
        targets = self.targets[part]  # [questions, seeds, examples]
        wanted = targets.gather(2, indices.expand(len(targets), targets.shape[1], -1))[:, None]
        wanted = wanted.expand(outputs.shape[:-1])[..., None]  # [questions, layers, seeds, batch, 1]
        if self.classes is None:
            return (outputs - wanted).square()[..., 0]
        return outputs.logsumexp(-1) - outputs.gather(-1, wanted)[..., 0]

    @torch.no_grad()
    def answers(self, parameters: Parameters, part: Split, batch_size: int) -> tuple[Tensor, Tensor]:
        """Of all examples, the best class or the score, and the loss: each [questions, layers, seeds, examples]."""
        said, losses = [], []
        for indices in torch.arange(self.count(part))[None].split(EVALUATED * batch_size, dim=1):
            outputs = self.outputs(parameters, part, indices)
            said.append(outputs[..., 0] if self.classes is None else outputs.argmax(-1))
            losses.append(self._losses(outputs, part, indices))
        return torch.cat(said, dim=-1), torch.cat(losses, dim=-1)
