"""From indices of items to the model's output: through the whole model, or from features computed once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from minitl.data import batches_by_length
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.task import Task, TrainingBatch
from minitl.training.features import compute_features, places


class Feed:
    """Items, ready to be run in batches of any composition: pad, and run the whole model."""

    def __init__(self, model: Model, task: Task[Any, Any], examples: Sequence[Any], device: torch.device) -> None:
        self.model, self.task, self.device = model, task, device
        self.items = task.encode(examples)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [item.length for item in self.items]

    def __call__(self, indices: Sequence[int]) -> tuple[Output, TrainingBatch]:
        """The model's output for these items, and what it read, on the model's device."""
        batch = self.task.collate([self.items[i] for i in indices]).to(self.device)
        return self.model(**batch.inputs, asked=self.task.wanted(batch.targets)), batch


class FeatureFeed(Feed):
    """Run the frozen backbone over all items once, keep its output, and run only the head from then on.

    folder   where the features are kept, see `minitl.training.features`; None = in memory
    """

    def __init__(
        self,
        model: Model,
        task: Task[Any, Any],
        examples: Sequence[Any],
        device: torch.device,
        batch_size: int,
        folder: Path | None = None,
    ) -> None:
        super().__init__(model, task, examples, device)
        batches = batches_by_length(self.lengths, batch_size)
        self.features = compute_features(model, batches, lambda indices: self._batch(indices).inputs, folder)

    def _batch(self, indices: Sequence[int]) -> TrainingBatch:
        return self.task.collate([self.items[i] for i in indices]).to(self.device)

    def __call__(self, indices: Sequence[int]) -> tuple[Output, TrainingBatch]:
        batch = self._batch(indices)
        output, readable = self.features.output(indices, places(batch.inputs))
        return self.model.head(output, readable), batch
