"""What tells how good a completion is: any function of prompts and completions, or a trained classifier."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from minitl.data import batches_by_length
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.loading import load_model
from minitl.tasks.policy import at_rest
from minitl.tokenization import Tokenizer, load_tokenizer

Reward = Callable[[Sequence[str], Sequence[str]], Sequence[float] | Tensor]  # (prompts, completions) -> a number each

BATCH = 64  # texts that a classifier reads at once


class ClassifierReward:
    """How probable a class is of prompt and completion together, 0 to 1; of a head with one output, its score.

    model        with the head "sequence-classification"
    tokenizer    the model's
    label        the class; None for a head of one output
    max_length   tokens after which a text is cut

    InputError: another head, or no such class.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, label: str | None = None, max_length: int = 128) -> None:
        if model.task != "sequence-classification":
            raise InputError(f"a reward is told by a sequence-classification model; this one's head is {model.task}")
        labels = model.config.labels
        if len(labels) == 1 and label is not None:
            raise InputError(f"label {label!r}: the reward's head has one output, and no classes")
        if len(labels) > 1 and label not in labels:
            raise InputError(f"label must be one of the reward's classes, {', '.join(labels)}, got {label!r}")
        self.model, self.tokenizer, self.label = model, tokenizer, label
        limit = model.position_limit
        self.max_length = max_length if limit is None else min(max_length, limit)

    @property
    def name(self) -> str:
        """What it is, in logs and resumed runs."""
        return f"{self.model.source}, {self.label or 'score'}"

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> Tensor:
        """float32 [completions], on the CPU."""
        texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
        rows = self.tokenizer.rows(texts, max_length=self.max_length)
        rewards = torch.zeros(len(rows))
        device = next(self.model.parameters()).device
        with torch.no_grad(), at_rest(self.model):
            for indices in batches_by_length([row.length for row in rows], BATCH):
                batch = self.tokenizer.pad([rows[i] for i in indices])
                logits = self.model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits.float()
                rewards[list(indices)] = self._said(logits).cpu()
        return rewards

    def _said(self, logits: Tensor) -> Tensor:
        """[texts, outputs] -> [texts]"""
        if self.label is None:
            return logits[:, 0]
        return logits.softmax(-1)[:, self.model.config.labels.index(self.label)]


def load_reward(source: str, label: str | None = None, device: torch.device | str = "cpu") -> ClassifierReward:
    """The classifier of a checkpoint folder or hub id, or of a folder that `minitl train` wrote in full.

    InputError as in `ClassifierReward`, and where the folder holds an adapter alone.
    """
    folder = Path(source)
    if (folder / "adapter").is_dir():
        raise InputError(f"{source} holds an adapter: `minitl merge` makes a model of it that can tell rewards")
    source = str(folder / "model") if (folder / "model").is_dir() else source
    return ClassifierReward(load_model(source, "sequence-classification", device=device), load_tokenizer(source), label)
