"""Score a text, or a pair of texts: squared error, Pearson's and Spearman's correlation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.nn.output import Output
from minitl.tasks.task import Task, TrainingBatch
from minitl.tasks.texts import LabelledRow, labelled_rows
from minitl.tokenization import Tokenizer


class Regression(Task[Example, LabelledRow]):
    """loss = (logit - score)², summed over the batch; a head of one output (Devlin et al. 2019's STS-B).

    tokenizer    from `load_tokenizer`
    max_length   tokens after which a text is cut, special tokens included
    """

    name = "sequence-classification"
    metric = "spearman"

    def __init__(self, tokenizer: Tokenizer, max_length: int = 128) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def check_example(self, example: Example) -> str | None:
        if isinstance(example.label, int | float) and torch.tensor(float(example.label)).isfinite():
            return None
        return f"label {example.label!r} is not a finite number"

    def is_labelled(self, example: Example) -> bool:
        return example.label is not None

    def encode(self, examples: Sequence[Example]) -> list[LabelledRow]:
        return labelled_rows(self.tokenizer, examples, self.max_length)

    def collate(self, items: Sequence[LabelledRow]) -> TrainingBatch:
        """ "scores": float32 [batch]; NaN for an unlabelled example."""
        scores = [float("nan") if item.label is None else float(item.label) for item in items]
        return TrainingBatch(self.tokenizer.pad([item.row for item in items]), {"scores": torch.tensor(scores)})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        return F.mse_loss(output.logits.float()[:, 0], targets["scores"], reduction="sum"), len(targets["scores"])

    def answers(self, output: Output, batch: TrainingBatch) -> Tensor:  # noqa: ARG002
        """Scores [batch], float32."""
        assert output.logits is not None
        return output.logits.float()[:, 0]

    def predictions(self, answers: Sequence[Tensor], items: Sequence[LabelledRow]) -> list[float]:  # noqa: ARG002
        """A score for each example."""
        return [float(answer) for answer in answers]

    def score(self, predictions: Any, examples: Sequence[Example]) -> dict[str, float]:
        """Correlations from -1 to 1, NaN-free: 0 where all predictions, or all scores, are the same."""
        from scipy.stats import pearsonr, spearmanr

        scores = [float(example.label) for example in examples if example.label is not None]
        if len(set(predictions)) < 2 or len(set(scores)) < 2:
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": float(pearsonr(predictions, scores).statistic),
            "spearman": float(spearmanr(predictions, scores).statistic),
        }

    def describe(self) -> dict[str, Any]:
        return {"task": "regression", "max_length": self.max_length}
