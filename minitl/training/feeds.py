"""From indices of examples to the model's output: through the whole model, or from features computed once."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minitl.data import Example, batches_by_length
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.task import Task


class Feed(Protocol):
    """Examples, ready to be run in batches of any composition."""

    lengths: list[int]

    def __call__(self, indices: Sequence[int]) -> tuple[Output, Tensor]:
        """The model's output for these examples, and their targets, on the model's device."""


class TextFeed:
    """Tokenise, pad and run the whole model."""

    def __init__(self, model: Model, task: Task, examples: Sequence[Example], device: torch.device) -> None:
        self.model, self.task, self.examples, self.device = model, task, examples, device
        self.lengths = task.lengths(examples)

    def __call__(self, indices: Sequence[int]) -> tuple[Output, Tensor]:
        inputs, targets = self.task.collate([self.examples[i] for i in indices])
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        return self.model(**inputs), targets.to(self.device)


class FeatureFeed:
    """Run the frozen backbone over all examples once, keep its output, and run only the head from then on.

    A frozen backbone is a fixed function, so it runs in eval mode: no dropout noise in the features. Memory: a vector
    per text where the head reads only the pooled output, else a vector per token, in the model's dtype.
    """

    def __init__(
        self, model: Model, task: Task, examples: Sequence[Example], device: torch.device, batch_size: int
    ) -> None:
        self.model, self.device = model, device
        self.lengths = task.lengths(examples)
        self._hidden: list[Tensor] = [torch.empty(0, device=device)] * len(examples)
        self._pooled: list[Tensor] = [torch.empty(0, device=device)] * len(examples)
        self._readable: list[Tensor] = [torch.empty(0, dtype=torch.bool, device=device)] * len(examples)
        self._targets: list[Tensor] = [torch.empty(0)] * len(examples)
        self._has_pooled = False
        reads_tokens = getattr(model.head, "reads_tokens", True)
        was_training = model.training
        model.eval()
        for indices in batches_by_length(self.lengths, batch_size):
            inputs, targets = task.collate([examples[i] for i in indices])
            inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
            mask = inputs["attention_mask"].bool()
            readable = model.summary_mask(inputs["input_ids"], mask)
            assert readable is not None  # there is a mask
            with torch.no_grad():
                output = model.encode(**inputs)
            self._has_pooled = output.pooler_output is not None
            for row, i in enumerate(indices):
                self._targets[i] = targets[row]
                if output.pooler_output is not None:
                    self._pooled[i] = output.pooler_output[row].clone()
                if reads_tokens:
                    self._hidden[i] = output.last_hidden_state[row, mask[row]]
                    self._readable[i] = readable[row, mask[row]].bool()
        model.train(was_training)

    def __call__(self, indices: Sequence[int]) -> tuple[Output, Tensor]:
        hidden = pad_sequence([self._hidden[i] for i in indices], batch_first=True)  # [batch, length, hidden]
        mask = pad_sequence([self._readable[i] for i in indices], batch_first=True)
        pooled = torch.stack([self._pooled[i] for i in indices]) if self._has_pooled else None
        targets = torch.stack([self._targets[i] for i in indices]).to(self.device)
        return self.model.head(Output(hidden, pooled), mask), targets
