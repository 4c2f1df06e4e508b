"""One run of the study: an arm, a number of labels, a seed; and the list of all runs of a study."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from minitl.adapters import count_parameters, save_adapter
from minitl.data import Dataset, Example, sample
from minitl.experiments.study.arms import Arm
from minitl.models.base import Model
from minitl.models.loading import load_model, new_model, save_model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tokenization import Tokenizer
from minitl.training import Listener, Settings, fit, predict


@dataclass(frozen=True)
class Plan:
    """What a study runs. Its JSON decides whether an interrupted study may go on.

    labels           training examples of the main comparison
    curve            smaller numbers of labels, for the learning curve
    seeds            of data order, initialisation and the choice of labels
    batch_size       halved where the labels are fewer than `few_labels`
    least_steps      few labels make few steps an epoch: epochs are added until so many steps are taken
    validation       examples used to choose the best epoch, never more than there are labels
    search           the same for a search of rates, which must tell closer things apart
    searches         whether there is one; else `rates` are those of the arms
    """

    source: str
    data: str
    labels: int
    curve: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    rates: Mapping[str, float]
    batch_size: int = 32
    max_length: int = 128
    few_labels: int = 500
    least_steps: int = 60
    validation: int = 500
    search: int = 1000
    searches: bool = False
    autocast: str = "float32"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """One training of the study."""

    arm: Arm
    labels: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.arm.name}-{self.labels}-{self.seed}"


def runs_of(plan: Plan, arms: list[Arm]) -> list[Run]:
    """The main comparison first, seed by seed, then the learning curve's smaller sizes."""
    sizes = [plan.labels, *sorted((n for n in plan.curve if n < plan.labels), reverse=True)]
    return [Run(arm, size, seed) for size in sizes for seed in plan.seeds for arm in arms]


def carry_out(
    run: Run,
    plan: Plan,
    dataset: Dataset,
    tokenizer: Tokenizer,
    folder: Path,
    listener: Listener | None,
    keep: Path | None,
    on_validation: bool = False,
) -> dict[str, Any]:
    """Train and measure one run; returns its line of results.json.

    folder          where an interrupted training leaves its state
    keep            where the trained model or adapter is saved; None = it is measured and thrown away
    on_validation   score the validation split alone, as a search must
    """
    assert dataset.label_names is not None
    task = SequenceClassification(tokenizer, dataset.label_names, plan.max_length)
    train = sample(dataset.train, run.labels, run.seed)
    judges = plan.search if on_validation else plan.validation
    validation = sample(dataset.validation, min(run.labels, judges, len(dataset.validation)), run.seed)
    torch.manual_seed(run.seed)  # of the fresh head, and of everything where nothing is pretrained
    model = _model(run.arm, plan.source, dataset.label_names)
    settings = settings_for(run, plan)
    result = fit(
        model,
        train,
        validation,
        task=task,
        settings=settings,
        strategy=run.arm.strategy,
        folder=folder,
        listener=listener,
        resume=True,
    )
    line: dict[str, Any] = {
        "seed": run.seed,
        "labels": run.labels,
        "learning_rate": run.arm.learning_rate,
        "validation_accuracy": result.metrics["accuracy"],
        "seconds": result.seconds,
        "peak_memory_mb": result.peak_memory / 1e6,
        "best_epoch": result.best_epoch,
        "epochs": settings.epochs,
        "steps": result.steps,
    }
    if on_validation:
        return line
    line |= _test(model, dataset.test, task, settings)
    line |= {"trainable": count_parameters(model).trainable, "total": count_parameters(model).total}
    line["saved_bytes"] = _save(model, tokenizer, run.arm, keep) if keep is not None else None
    history = result.history.to_dict()
    line["curve"] = [{k: s[k] for k in ("step", "epoch", "loss", "learning_rate")} for s in history["steps"]]
    line["validation"] = [
        {"epoch": v["epoch"], "loss": v["loss"], "accuracy": v["metrics"]["accuracy"]} for v in history["validations"]
    ]
    return line


def settings_for(run: Run, plan: Plan) -> Settings:
    """The training settings of a run: the arm's epochs, or more, and smaller batches, where the labels are few."""
    batch_size = plan.batch_size if run.labels >= plan.few_labels else max(1, plan.batch_size // 2)
    steps_per_epoch = math.ceil(run.labels / batch_size)
    return Settings(
        epochs=max(run.arm.epochs, math.ceil(plan.least_steps / steps_per_epoch)),
        batch_size=batch_size,
        learning_rate=run.arm.learning_rate,
        seed=run.seed,
        autocast=plan.autocast,
    )


def _model(arm: Arm, source: str, labels: list[str]) -> Model:
    model = load_model(source, "sequence-classification", labels=labels)
    if arm.pretrained:
        return model
    return new_model(replace(model.config, architectures=None), "sequence-classification", labels=labels)


def _test(model: Model, test: list[Example], task: SequenceClassification, settings: Settings) -> dict[str, Any]:
    started = time.perf_counter()
    answers = predict(model, test, task=task, batch_size=settings.eval_batch_size)
    return {
        **task.score(answers, test),
        "test_seconds": time.perf_counter() - started,
        "predicted": answers.argmax(-1).tolist(),
    }


def _save(model: Model, tokenizer: Tokenizer, arm: Arm, folder: Path) -> int:
    """Save the model, or the adapter alone where one was trained; returns the bytes of the weight files."""
    if arm.strategy.lora is not None:
        save_adapter(model, folder)
    else:
        save_model(model, folder, tokenizer)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
