"""Classify a text, or a pair of texts: cross-entropy over the classes, accuracy and F1."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.nn.output import Output
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tasks.texts import LabelledRow, labelled_rows
from minitl.tokenization import Tokenizer


class SequenceClassification(Task[Example, LabelledRow]):
    """loss = -log softmax(logits)[label], summed over the batch.

    tokenizer    from `load_tokenizer`
    label_names  one per class; with two, F1 is that of the second ("positive"), otherwise the mean over classes
    max_length   tokens after which a text is cut, special tokens included
    """

    name = "sequence-classification"
    metric = "accuracy"

    def __init__(self, tokenizer: Tokenizer, label_names: Sequence[str], max_length: int = 128) -> None:
        self.tokenizer = tokenizer
        self.label_names = list(label_names)
        self.max_length = max_length

    def check_example(self, example: Example) -> str | None:
        last = len(self.label_names) - 1
        if isinstance(example.label, int) and 0 <= example.label <= last:
            return None
        return f"label {example.label!r} is not one of 0 to {last} ({', '.join(self.label_names)})"

    def is_labelled(self, example: Example) -> bool:
        return example.label is not None

    def encode(self, examples: Sequence[Example]) -> list[LabelledRow]:
        return labelled_rows(self.tokenizer, examples, self.max_length)

    def collate(self, items: Sequence[LabelledRow]) -> TrainingBatch:
        """ "labels": class indices [batch]; NO_TARGET for an unlabelled example."""
        labels = [NO_TARGET if item.label is None else int(item.label) for item in items]
        return TrainingBatch(self.tokenizer.pad([item.row for item in items]), {"labels": torch.tensor(labels)})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        return F.cross_entropy(output.logits.float(), targets["labels"], reduction="sum"), len(targets["labels"])

    def answers(self, output: Output, batch: TrainingBatch) -> Tensor:  # noqa: ARG002
        """Class probabilities [batch, classes], float32."""
        assert output.logits is not None
        return output.logits.float().softmax(-1)

    def predictions(self, answers: Sequence[Tensor], items: Sequence[LabelledRow]) -> Tensor:  # noqa: ARG002
        """Class probabilities [examples, classes]."""
        return torch.stack(list(answers)) if answers else torch.empty(0, len(self.label_names))

    def score(self, predictions: Any, examples: Sequence[Example]) -> dict[str, float]:
        """accuracy and F1, both from 0 to 1; predictions: probabilities [examples, classes]."""
        from sklearn.metrics import accuracy_score, f1_score

        predicted = torch.as_tensor(predictions).argmax(-1).tolist()
        labels = [example.label for example in examples]
        average = "binary" if len(self.label_names) == 2 else "macro"
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "f1": float(f1_score(labels, predicted, average=average, zero_division=0.0)),
        }

    def describe(self) -> dict[str, Any]:
        return {"task": "sequence-classification", "labels": self.label_names, "max_length": self.max_length}
