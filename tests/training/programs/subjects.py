"""What the programs beside this one teach: a model, its task and examples, always the same ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from minitl import load_model, load_tokenizer
from minitl.data import Example, Related
from minitl.models.base import Model
from minitl.tasks.sentence_embedding import SentenceEmbedding
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import Task
from minitl.tasks.vector_losses import make_loss

LABELS = ["negative", "positive"]
REVIEWS = [
    Example(f"{'a ' * (i % 5)}{['bad', 'good'][i % 2]} film {'very ' * (i % 3)}", label=i % 2) for i in range(21)
]
NOUNS = ["film", "book", "food", "hotel", "day", "we", "it"]
TRIPLETS = [
    Related(f"{'a ' * (i % 4)}{NOUNS[i % 7]} {word}", f"the {NOUNS[i % 7]} was {word}", f"not {NOUNS[i % 5]}")
    for i, word in enumerate(["good", "bad", "fine", "poor", "really", "very", "but"] * 3)
]


class Subject(NamedTuple):
    model: Model
    task: Task[Any, Any]
    examples: Sequence[Any]


Make = Callable[[str], Subject]


def classifier(checkpoint: str) -> Subject:
    model = load_model(checkpoint, "sequence-classification", labels=LABELS)
    return Subject(model, SequenceClassification(load_tokenizer(checkpoint), LABELS, max_length=16), REVIEWS)


def in_batch(checkpoint: str) -> Subject:
    task = SentenceEmbedding(load_tokenizer(checkpoint), make_loss("in-batch"), max_length=16)
    return Subject(load_model(checkpoint, "backbone"), task, TRIPLETS)


def nested(checkpoint: str) -> Subject:
    """Of pairs, and two sizes of vectors."""
    loss = make_loss("in-batch", scale=10.0, dims=[24, 8])
    task = SentenceEmbedding(load_tokenizer(checkpoint), loss, max_length=16)
    return Subject(load_model(checkpoint, "backbone"), task, [Related(*one.texts[:2]) for one in TRIPLETS])


def drawn_alike(make: Make, checkpoint: str) -> Subject:
    """What is fresh in a model is that of one seed."""
    torch.manual_seed(1)
    return make(checkpoint)
