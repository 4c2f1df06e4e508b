"""From indices of items to the model's output: through the whole model, or from features computed once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minitl.data import batches_by_length
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.task import Task, TrainingBatch


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
        return self.model(**batch.inputs), batch


class FeatureFeed(Feed):
    """Run the frozen backbone over all items once, keep its output, and run only the head from then on.

    A frozen backbone is a fixed function, so it runs in eval mode: no dropout noise in the features. Memory: a vector
    per item where the head reads only the pooled output, else a vector per token, in the model's dtype.
    """

    def __init__(
        self, model: Model, task: Task[Any, Any], examples: Sequence[Any], device: torch.device, batch_size: int
    ) -> None:
        super().__init__(model, task, examples, device)
        self._hidden: list[Tensor | None] = [None] * len(self.items)  # [tokens, hidden]
        self._readable: list[Tensor | None] = [None] * len(self.items)  # [tokens], bool
        self._pooled: list[Tensor | None] = [None] * len(self.items)  # [hidden]
        reads_tokens = getattr(model.head, "reads_tokens", True)
        was_training = model.training
        model.eval()
        for indices in batches_by_length(self.lengths, batch_size):
            inputs = task.collate([self.items[i] for i in indices]).to(device).inputs
            mask = _places(inputs)
            written = "decoder_attention_mask" in inputs  # a target, of which each token is read
            readable = mask if written else model.summary_mask(inputs["input_ids"], mask)
            assert readable is not None  # there is a mask
            with torch.no_grad():
                output = model.encode(**inputs)
            for row, i in enumerate(indices):
                if output.pooler_output is not None:
                    self._pooled[i] = output.pooler_output[row].clone()
                if reads_tokens:
                    self._hidden[i] = output.last_hidden_state[row, mask[row]]
                    self._readable[i] = readable[row, mask[row]].bool()
        model.train(was_training)

    def __call__(self, indices: Sequence[int]) -> tuple[Output, TrainingBatch]:
        batch = self.task.collate([self.items[i] for i in indices]).to(self.device)
        mask = _places(batch.inputs)
        pooled = _present(self._pooled, indices)
        features = _present(self._hidden, indices)
        hidden, readable = torch.zeros(0, device=self.device), mask
        if features is not None:
            hidden = features[0].new_zeros(*mask.shape, features[0].shape[-1])  # [batch, length, hidden]
            hidden[mask] = torch.cat(features)
            readable = torch.zeros_like(mask)
            readable[mask] = torch.cat(_present(self._readable, indices) or [])
        output = Output(hidden, None if pooled is None else torch.stack(pooled))
        return self.model.head(output, readable), batch


def _places(inputs: Mapping[str, Tensor]) -> Tensor:
    """The real tokens [batch, length] of which the model puts out a vector: the target's, where there is one."""
    return inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()


def _present(kept: Sequence[Tensor | None], indices: Sequence[int]) -> list[Tensor] | None:
    """What is kept of these items; None where nothing is."""
    tensors = [kept[i] for i in indices]
    return None if any(tensor is None for tensor in tensors) else tensors  # type: ignore[return-value]
