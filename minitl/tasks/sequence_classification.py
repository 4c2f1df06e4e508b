"""Classify a text, or a pair of texts: cross-entropy over the classes, accuracy and F1."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.errors import DataError
from minitl.nn.output import Output
from minitl.tokenization import Tokenizer


class SequenceClassification:
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

    def check(self, examples: Sequence[Example], where: str) -> None:
        if not examples:
            raise DataError(f"the {where} split is empty")
        classes = len(self.label_names)
        for i, example in enumerate(examples):
            if not isinstance(example.label, int) or not 0 <= example.label < classes:
                raise DataError(
                    f"{where} example {i}: label {example.label!r} is not one of 0 to {classes - 1} "
                    f"({', '.join(self.label_names)})"
                )

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        rows = self.tokenizer.encode(*self._texts(examples), max_length=self.max_length)
        return [len(row) for row in rows]

    def collate(self, examples: Sequence[Example]) -> tuple[Mapping[str, Tensor], Tensor]:
        """Inputs [batch, length] and class indices [batch]; an unlabelled example's is -1."""
        inputs = self.tokenizer(*self._texts(examples), max_length=self.max_length)
        labels = [-1 if example.label is None else int(example.label) for example in examples]
        return inputs, torch.tensor(labels)

    def loss(self, output: Output, targets: Tensor) -> tuple[Tensor, int]:
        assert output.logits is not None
        return F.cross_entropy(output.logits.float(), targets, reduction="sum"), len(targets)

    def answers(self, output: Output) -> Tensor:
        """Class probabilities [batch, classes], float32."""
        assert output.logits is not None
        return output.logits.float().softmax(-1)

    def score(self, answers: Tensor, targets: Tensor) -> dict[str, float]:
        """accuracy and F1, both from 0 to 1."""
        from sklearn.metrics import accuracy_score, f1_score

        predicted, labels = answers.argmax(-1).numpy(), targets.numpy()
        average = "binary" if len(self.label_names) == 2 else "macro"
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "f1": float(f1_score(labels, predicted, average=average, zero_division=0.0)),
        }

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "labels": self.label_names, "max_length": self.max_length}

    def _texts(self, examples: Sequence[Example]) -> tuple[list[str], list[str] | None]:
        texts = [example.text for example in examples]
        if all(example.pair is None for example in examples):
            return texts, None
        return texts, [example.pair or "" for example in examples]
