"""What the loop asks of a task. A task knows examples, loss and metric; it knows nothing of optimisers.

examples ─ encode ─► items ─ collate ─► batch ─ model ─► Output ─ loss ───► sum over targets, their number
 (once, ahead of         │                                │
  the loop)              │ a text may be cut in several   └── answers ─► one an item ─ predictions ─► one an
                         └ items, as a long one in windows                                            example ─► score
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from minitl.errors import DataError
from minitl.models.base import Model
from minitl.nn.output import Output

NO_TARGET = -100  # a place from which nothing is to be learnt: `cross_entropy`'s ignore_index


class Item(Protocol):
    """What the model reads in one row, ready but for padding."""

    @property
    def length(self) -> int:
        """Tokens, for batches of similar length."""


class TrainingBatch(NamedTuple):
    """The model's inputs by their names, and the targets by the task's; the first dimension is that of the items, or
    of their rows, where an item is several texts that are read side by side."""

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same on `device`."""
        return TrainingBatch(*({name: tensor.to(device) for name, tensor in part.items()} for part in self))


E = TypeVar("E")  # the examples a task is taught by
I = TypeVar("I", bound=Item)  # noqa: E741 - what it makes of them


class Task(ABC, Generic[E, I]):
    """One way of turning examples into a loss and a score."""

    name: str  # the head it needs: "sequence-classification", …
    metric: str  # the key of `score` by which the best epoch is chosen; higher is better
    redraws = False  # whether `collate` makes other inputs of the same items each time, or more rows than items
    dropout = True  # whether the model learns it with its dropouts on
    writes = False  # whether it lets the model generate, which takes as many passes as the texts need

    @abstractmethod
    def check_example(self, example: E) -> str | None:
        """Why the example cannot be learnt from, or None."""

    @abstractmethod
    def is_labelled(self, example: E) -> bool:
        """Whether it says what is right; the examples of published test sets often do not."""

    @abstractmethod
    def encode(self, examples: Sequence[E]) -> list[I]:
        """Tokenise, once ahead of the loop; in the order of the examples. Labels may be missing."""

    @abstractmethod
    def collate(self, items: Sequence[I]) -> TrainingBatch:
        """Pad and stack; what is random (masks, say) is drawn here, from torch's generator."""

    @abstractmethod
    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """The summed loss of a batch (a scalar tensor), and how many targets it sums over."""

    def loss_of_share(
        self,
        output: Output,
        targets: Mapping[str, Tensor],
        together: Callable[[Tensor], Tensor],  # noqa: ARG002
    ) -> tuple[Tensor, int]:
        """The same of one process's share of a batch: the gradients of all shares add up to those of the whole batch's
        loss, and so do their values. The loss of the share itself, unless examples of a batch are compared.

        `together` gives the rows of all processes' tensors, through which gradients flow into this process's own;
        every process must call it as often.
        """
        return self.loss(output, targets)

    @abstractmethod
    def answers(self, output: Output, batch: TrainingBatch) -> Iterable[Any]:
        """What the model says of each item; on any device."""

    def predictions(self, answers: Sequence[Any], items: Sequence[I]) -> Any:  # noqa: ARG002
        """What it says of each example, in a sequence: the answers, where examples are not cut into several items."""
        return answers

    @abstractmethod
    def score(self, predictions: Any, examples: Sequence[E]) -> dict[str, float]:
        """Metrics over a whole split, by a library."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What identifies the task in logs and in a resumed run."""

    def in_full(self) -> "Task[E, I]":
        """The task as it measures a finished model: this one, unless it looks at less while a training goes on."""
        return self

    def beside(self, model: Model) -> dict[str, Any]:  # noqa: ARG002
        """JSON files, by their paths, that belong beside a saved model of this task: what says how it is to be used."""
        return {}

    def check(self, examples: Sequence[E], where: str) -> None:
        """Raise DataError where an example cannot be learnt from; `where` names the split."""
        if not examples:
            raise DataError(f"the {where} split is empty")
        for i, example in enumerate(examples):
            problem = self.check_example(example)
            if problem is not None:
                raise DataError(f"{where} example {i}: {problem}")
