"""Fine-tuning with some of the layers held: two tasks × five ways × seeds, and which layers change when none is.

all ▮▮▮▮▮▮   bottom quarter ▯▯▮▮▮▮   bottom half ▯▯▯▮▮▮   top half ▮▮▮▯▯▯   top quarter ▮▮▮▮▯▯      ▯ held
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minitl.checkpoints.hub import MINILM
from minitl.data import Dataset, load_dataset, load_tagged, sample
from minitl.data.examples import Example, TaggedSentence
from minitl.experiments.experiment import Results, here
from minitl.experiments.paired import written
from minitl.experiments.runs import Runs
from minitl.models.base import Model
from minitl.models.loading import load_model
from minitl.probing.reading import TransformerReader
from minitl.probing.representations import represent
from minitl.probing.similarity import linear_cka
from minitl.probing.task import Corpus
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import Task
from minitl.tasks.token_classification import TokenClassification
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import FULL, Listener, Settings, fit, predict

ALL = "all"
QUARTER, HALF = 0.25, 0.5
WAYS = (ALL, "bottom quarter", "bottom half", "top half", "top quarter")  # what is held
CLASSES, TAGS = "classes", "tags"  # the two tasks


@dataclass(frozen=True)
class Scale:
    """How much is run.

    A token costs MiniLM 64 MFLOP to learn from and 21 to read. In full: 15 trainings on 2,000 sentences of 15 tokens
    and 15 on 1,500 of 24, three epochs each, with validation and test: 15 · (6.3 + 8.9) TFLOP, 25 minutes at 150
    GFLOP/s and half an hour with AdamW's passes over the weights; the gradients end where the lowest layers are held.

    tested   so many items of each test split, the first ones; None = all
    read     sentences of the test split by which the layers are compared before and after
    """

    source: str = MINILM
    classes: str = "sst2"
    tags: str = "ud-en"
    labels: int = 2000
    sentences: int = 1500
    class_rate: float = 2e-4
    tag_rate: float = 3e-4
    epochs: int = 3
    seeds: tuple[int, ...] = (0, 1, 2)
    validation: int = 500
    tested: int | None = None
    read: int = 300


def held_layers(way: str, layers: int) -> tuple[int, ...]:
    """The numbers of the layers that a way holds; of a quarter of 6 layers, 1.5, both."""
    if way == ALL:
        return ()
    end, share = way.split()
    count = math.floor({"quarter": QUARTER, "half": HALF}[share] * layers + 0.5)
    return tuple(range(count)) if end == "bottom" else tuple(range(layers - count, layers))


@dataclass(frozen=True)
class _Subject:
    """One of the two tasks, with so many of its training examples, and the rate at which they are learned."""

    name: str
    data: Dataset[Any]
    task: Task[Any, Any]
    count: int
    rate: float


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Both tasks in each way, once a seed."""
    tokenizer = here(lambda: load_tokenizer(scale.source))
    layers = len(here(lambda: load_model(scale.source, "backbone")).layers)
    texts = here(lambda: load_dataset(scale.classes, test_fraction=0.2))
    words = here(lambda: load_tagged(scale.tags, test_fraction=0.2))
    of_texts = SequenceClassification(tokenizer, texts.label_names or ())
    of_words = TokenClassification(tokenizer, words.label_names or ())
    return {
        "model": "all-MiniLM-L6-v2",
        "data": f"{scale.classes}, {scale.labels:,} labels; {scale.tags}, {scale.sentences:,} sentences",
        "seeds": len(scale.seeds),
        "layers": layers,
        "held": {way: list(held_layers(way, layers)) for way in WAYS},
        CLASSES: _trained(runs, scale, _Subject(CLASSES, texts, of_texts, scale.labels, scale.class_rate), layers),
        TAGS: _trained(runs, scale, _Subject(TAGS, words, of_words, scale.sentences, scale.tag_rate), layers),
    }


def _trained(runs: Runs, scale: Scale, subject: _Subject, layers: int) -> dict[str, Any]:
    """The runs of one task, each a line; `sizes` are what there was to be right about in each test item."""
    data = subject.data
    data.test[:] = data.test[: scale.tested]
    lines = []
    for way in WAYS:
        held = held_layers(way, layers)
        for seed in scale.seeds:
            settings = {
                "scale": [scale.source, scale.epochs, scale.validation, scale.tested, scale.read],
                "subject": [data.name, subject.count, subject.rate],
                "held": held,
            }
            work = partial(_line, scale, subject, held, seed)
            one = runs.once(f"{subject.name}-{way.replace(' ', '-')}-{seed}", settings, work)
            lines.append({"way": way, "seed": seed, **one})
    return {"sizes": written([_size(example) for example in data.test]), "lines": lines}


def _line(
    scale: Scale, subject: _Subject, held: tuple[int, ...], seed: int, folder: Path, listener: Listener | None
) -> dict[str, Any]:
    """One training: how many words of each test item it gets wrong; where nothing is held, how alike layers stayed."""
    data, task = subject.data, subject.task
    torch.manual_seed(seed)  # of the fresh head
    model = load_model(scale.source, task.name, labels=data.label_names)
    result = fit(
        model,
        sample(data.train, min(subject.count, len(data.train)), seed),
        sample(data.validation, min(scale.validation, len(data.validation)), seed),
        task=task,
        settings=Settings(epochs=scale.epochs, learning_rate=subject.rate, seed=seed),
        strategy=replace(FULL, held=held),
        folder=folder,
        listener=listener,
        resume=True,
    )
    answers = predict(model, data.test, task=task)
    line = {
        "wrong": written([_wrong(example, answer) for example, answer in zip(data.test, answers, strict=True)]),
        "validation": result.metrics,
        "best_epoch": result.best_epoch,
        "training_seconds": round(result.seconds, 2),
    }
    if not held:
        line["alike"] = _alike(model, scale.source, data.test[: scale.read], load_tokenizer(scale.source))
    return line


def _size(example: Example | TaggedSentence) -> int:
    return len(example.words) if isinstance(example, TaggedSentence) else 1


def _wrong(example: Example | TaggedSentence, answer: Any) -> int:
    if isinstance(example, TaggedSentence):
        return sum(said != tag for said, tag in zip(answer, example.tags or (), strict=True))
    return int(int(answer.argmax()) != example.label)


def _alike(model: Model, source: str, examples: Sequence[Any], tokenizer: Tokenizer) -> list[float]:
    """Linear CKA of the embeddings and each layer with what they were before the training."""
    corpus = Corpus("the test sentences", tuple(tuple(" ".join(example.texts).split()) for example in examples))
    before = load_model(source, "backbone")
    left, right = (represent(TransformerReader(one, tokenizer), corpus, unreadable="skip") for one in (before, model))
    return [round(value, 6) for value in linear_cka(left, right).tolist()]
