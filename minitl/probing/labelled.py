"""Probes of a task with labels or scores, as `train` trains them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from minitl.probing.probes import Parameters, Probe, Sizes
from minitl.probing.regimen import EVALUATED, Part
from minitl.probing.task import Split
from minitl.probing.vectors import Vectors


@dataclass(frozen=True, eq=False)
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
        rows = self.probe.rows(self.vectors["train"].depth)
        return len(self.targets["train"]), rows, len(self.seeds)

    def count(self, part: Split) -> int:
        return len(self.vectors[part])

    def new(self, generator: Generator) -> Parameters:
        vectors = self.vectors["train"]
        places = vectors.places.shape[1] if vectors.places.dim() > 1 else 1
        sizes = Sizes(vectors.depth, places, vectors.values.shape[-1], self.classes or 1)
        return self.probe.new(sizes, generator)

    def order(self, generator: Generator, turn: int, batch_size: int) -> Tensor:  # noqa: ARG002
        return torch.randperm(self.count("train"), generator=generator)

    def kept(self, questions: Tensor, layers: Tensor, seeds: Tensor) -> "LabelledLearner":
        probe, read = self.probe.kept(layers, self.vectors["train"].depth)
        return replace(
            self,
            probe=probe,
            seeds=tuple(self.seeds[seed] for seed in seeds.tolist()),
            vectors={s: v if read is None else v.of_layers(read) for s, v in self.vectors.items()},
            targets={s: t[questions][:, seeds] for s, t in self.targets.items()},
        )

    def losses(self, parameters: Parameters, part: Part, indices: Tensor) -> Tensor:
        """Cross-entropy of classes in nats, squared error of scores."""
        return self._losses(self.outputs(parameters, part, indices), part, indices)

    def outputs(self, parameters: Parameters, part: Split, indices: Tensor) -> Tensor:
        """Logits or scores of the examples [seeds or 1, batch]: [questions, layers, seeds, outputs, batch]."""
        return self.probe(parameters, *self.vectors[part](indices))

    def _losses(self, outputs: Tensor, part: Split, indices: Tensor) -> Tensor:
        targets = self.targets[part]  # [questions, seeds, examples]
        wanted = targets.gather(2, indices.expand(len(targets), targets.shape[1], -1))[:, None]
        wanted = wanted.expand(*outputs.shape[:3], -1)  # [questions, layers, seeds, batch]
        if self.classes is None:
            return (outputs[..., 0, :] - wanted).square()
        losses = F.cross_entropy(outputs.flatten(0, 2), wanted.flatten(0, 2), reduction="none")
        return losses.unflatten(0, outputs.shape[:3])

    @torch.no_grad()
    def answers(self, parameters: Parameters, part: Split, batch_size: int) -> tuple[Tensor, Tensor]:
        """Of all examples, the best class or the score, and the loss: each [questions, layers, seeds, examples]."""
        said, losses = [], []
        for indices in torch.arange(self.count(part))[None].split(EVALUATED * batch_size, dim=1):
            outputs = self.outputs(parameters, part, indices)
            said.append(outputs[..., 0, :] if self.classes is None else outputs.argmax(-2))
            losses.append(self._losses(outputs, part, indices))
        return torch.cat(said, dim=-1), torch.cat(losses, dim=-1)
