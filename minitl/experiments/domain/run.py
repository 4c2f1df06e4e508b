"""Adaptation to a domain: go on with masked LM on its texts, then fine-tune on its tasks (Gururangan et al. 2020).

    novels-bert ─┬───────────────────────────────────────┬─► ChemProt
                 ├─ masked LM on the three training sets ┼─► SciCite      five seeds each
                 └─ masked LM on as much of the novels   ┴─► ACL-ARC

No text of a test or validation set is adapted to or fine-tuned on: a training text that is one of them is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minitl.data import Dataset, Example, load_dataset, load_text, sample
from minitl.experiments.checkpoints import weights_of
from minitl.experiments.experiment import NotHere, Results, here
from minitl.experiments.paired import written
from minitl.experiments.runs import Runs
from minitl.experiments.texts import as_long, beginnings, tokens
from minitl.models.loading import load_model, save_model
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import Listener, Settings, evaluate, fit, predict

NONE, DOMAIN, UNRELATED = "none", "domain", "unrelated"
ARMS = (NONE, DOMAIN, UNRELATED)
MODEL = "model"  # of a run's folder: the adapted model
MICRO, MACRO = "micro", "macro"


@dataclass(frozen=True)
class Scale:
    """How much is run.

    A token costs the 4.5M weights of the layers 27 MFLOP to learn from, 30 with the head of masked LM, and 9 to read.
    In full: two adaptations by two epochs over a million tokens, 120 TFLOP; 45 fine-tunings on 1,000 texts of 75
    tokens, ten epochs each, with validation and test, 1,060 TFLOP: at most 130 minutes at 150 GFLOP/s.

    source     a BERT with a masked-LM head, pretrained on `text` less the share that is held out
    tasks      the names of the sets, and how F1 is averaged over classes: as Gururangan et al. do, table 2
    adapting   rate and epochs of the adaptation: the guide's
    epochs     of a fine-tuning at most
    patience   validations without a better one that end it
    words      of each novel, from which as many tokens are taken as the domain has
    """

    source: str = "novels-bert"
    text: str = "novels-eng"
    held_out: float = 0.02
    tasks: tuple[tuple[str, str], ...] = (("chemprot", MICRO), ("sci_cite", MACRO), ("citation_intent", MACRO))
    adapting: tuple[float, int] = (1e-4, 2)
    length: int = 128
    batch_size: int = 32
    labels: int = 1000
    rate: float = 3e-4
    epochs: int = 10
    patience: int = 3
    validation: int = 300
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tested: int | None = None
    words: int = 20_000


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Two adaptations, then every task with each of them and with none, once a seed."""
    tokenizer = here(lambda: load_tokenizer(scale.source))
    if here(lambda: load_model(scale.source, "masked-lm")).untaught:
        raise NotHere(f"{scale.source} has no masked-lm head: there is nothing to go on with")
    sets = {name: here(partial(load_dataset, name, test_fraction=0.2)) for name, _ in scale.tasks}
    dropped = {name: _drop_known(data) for name, data in sets.items()}
    adapted = _adapted(runs, scale, sets, tokenizer)
    lines = []
    for name, averaging in scale.tasks:
        data = sets[name]
        data.test[:] = data.test[: scale.tested]
        for arm in ARMS:
            begins = scale.source if arm == NONE else str(runs.at(f"adapt-{arm}") / MODEL)
            for seed in scale.seeds:
                told = [
                    scale.labels, scale.rate, scale.epochs, scale.patience, scale.length, scale.validation,
                    scale.tested, averaging,
                ]  # fmt: skip
                one = runs.once(
                    f"{Path(name).name}-{arm}-{seed}",
                    {"model": _model_told(scale, arm), "data": name, "scale": told, "seed": seed},
                    partial(_line, scale, begins, data, averaging, tokenizer, seed),
                    after=[] if arm == NONE else [f"adapt-{arm}"],
                )
                lines.append({"task": name, "arm": arm, "seed": seed, **one})
    return {
        "model": f"{scale.source}, the project's own BERT of 7M parameters",
        "data": f"{', '.join(sets)}, {scale.labels:,} labels each; {scale.text}",
        "seeds": len(scale.seeds),
        "tasks": {
            name: {
                "averaging": averaging,
                "classes": len(sets[name].label_names or ()),
                "labels": written([int(example.label or 0) for example in sets[name].test]),
                "dropped": dropped[name],
            }
            for name, averaging in scale.tasks
        },
        "adaptation": adapted,
        "lines": lines,
    }


def _drop_known(data: Dataset) -> int:
    """Leave out the training texts that are validation or test texts, too; how many."""
    known = {example.text for example in (*data.validation, *data.test)}
    kept = [example for example in data.train if example.text not in known]
    dropped = len(data.train) - len(kept)
    data.train[:] = kept
    return dropped


def _model_told(scale: Scale, arm: str) -> list[Any]:
    """What decides which model an arm begins with."""
    weights = weights_of(scale.source)
    if arm == NONE:
        return [scale.source, weights]
    return [
        scale.source,
        weights,
        arm,
        scale.adapting,
        scale.length,
        scale.batch_size,
        scale.held_out,
        scale.text,
        scale.words,
        scale.tasks,
    ]


def _adapted(runs: Runs, scale: Scale, sets: dict[str, Dataset], tokenizer: Tokenizer) -> dict[str, Any]:
    """Both adaptations: as many steps of as many tokens, on texts of the domain and on novels."""
    everywhere = {example.text for data in sets.values() for example in (*data.validation, *data.test)}
    texts = dict.fromkeys(example.text for data in sets.values() for example in data.train)
    domain = [Example(text) for text in texts if text not in everywhere]
    held_out = [Example(text) for text in dict.fromkeys(e.text for data in sets.values() for e in data.validation)]
    novels = here(lambda: load_text(scale.text, validation_fraction=scale.held_out)).train
    unrelated = as_long(beginnings(novels, scale.words), tokenizer, sum(tokens(domain, tokenizer)))
    task = MaskedLM(tokenizer, scale.length, whole_words=True)
    steps = scale.adapting[1] * math.ceil(len(task.encode(domain)) / scale.batch_size)
    found: dict[str, Any] = {"steps": steps, "rate": scale.adapting[0]}
    found[NONE] = runs.once(
        "adapt-none",
        {"model": _model_told(scale, NONE), "measured": scale.tasks, "length": scale.length},
        lambda _folder, _listener: {
            "loss": evaluate(load_model(scale.source, "masked-lm"), held_out, task=task)["loss"]
        },
    )
    for arm, documents in ((DOMAIN, domain), (UNRELATED, unrelated)):
        found[arm] = runs.once(
            f"adapt-{arm}",
            {"model": _model_told(scale, arm)},
            partial(_adapt, scale, task, documents, held_out, steps),
            makes=MODEL,
        )
    return found


def _adapt(
    scale: Scale,
    task: MaskedLM,
    documents: Sequence[Example],
    held_out: Sequence[Example],
    steps: int,
    folder: Path,
    listener: Listener | None,
) -> dict[str, Any]:
    """Go on with masked LM; the loss is that of the domain's held-out texts, at the same masked words each time."""
    model = load_model(scale.source, "masked-lm")
    settings = Settings(steps=steps, batch_size=scale.batch_size, learning_rate=scale.adapting[0])
    result = fit(model, documents, task=task, settings=settings, folder=folder, listener=listener, resume=True)
    save_model(model, folder / MODEL, task.tokenizer)
    return {
        "tokens": sum(tokens(documents, task.tokenizer)),
        "loss": evaluate(model, held_out, task=task)["loss"],
        "training_seconds": round(result.seconds, 2),
    }


def _line(
    scale: Scale,
    begins: str,
    data: Dataset,
    averaging: str,
    tokenizer: Tokenizer,
    seed: int,
    folder: Path,
    listener: Listener | None,
) -> dict[str, Any]:
    """One fine-tuning, and the class that it predicts for each test text."""
    assert data.label_names is not None
    task = SequenceClassification(tokenizer, data.label_names, scale.length)
    task.metric = "accuracy" if averaging == MICRO else "f1"  # micro-averaged F1 of one class a text is its accuracy
    torch.manual_seed(seed)  # of the fresh head
    model = load_model(begins, task.name, labels=data.label_names)
    result = fit(
        model,
        sample(data.train, min(scale.labels, len(data.train)), seed),
        sample(data.validation, min(scale.validation, len(data.validation)), seed),
        task=task,
        settings=Settings(epochs=scale.epochs, patience=scale.patience, learning_rate=scale.rate, seed=seed),
        folder=folder,
        listener=listener,
        resume=True,
    )
    answers = predict(model, data.test, task=task)
    return {
        "f1": task.score(answers, data.test)[task.metric],
        "predicted": written(answers.argmax(-1).tolist()),
        "validation": result.metrics,
        "best_epoch": result.best_epoch,
        "training_seconds": round(result.seconds, 2),
    }
