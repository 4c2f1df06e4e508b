"""What the loop asks of a task. A task knows texts, labels, loss and metric; it knows nothing of optimisers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from minitl.data import Example
from minitl.nn.output import Output


class Task(Protocol):
    """One way of turning examples into a loss and a score."""

    name: str  # the head it needs: "sequence-classification", …
    metric: str  # the key of `score` by which the best epoch is chosen; higher is better

    def check(self, examples: Sequence[Example], where: str) -> None:
        """Raise DataError where an example cannot be learnt from; `where` names the split."""

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Tokens of each example, for batches of similar length."""

    def collate(self, examples: Sequence[Example]) -> tuple[Mapping[str, Tensor], Tensor]:
        """A batch: the model's inputs, and the targets [batch, ...]."""

    def loss(self, output: Output, targets: Tensor) -> tuple[Tensor, int]:
        """The summed loss of a batch (a scalar tensor), and how many targets it sums over."""

    def answers(self, output: Output) -> Tensor:
        """What `score` needs of a batch's output, [batch, ...]."""

    def score(self, answers: Tensor, targets: Tensor) -> dict[str, float]:
        """Metrics over a whole split, by a library."""

    def describe(self) -> dict[str, Any]:
        """What identifies the task in logs and in a resumed run."""
