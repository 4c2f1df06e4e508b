"""What LoRA reaches in the precisions whose speed is compared, ours and PEFT's: `python -m benchmarks.lora_accuracy`.

    benchmarks/results/studies/sst2.json, sst2-peers.json ─► labels, seeds, each side's best rate
    the same trainings with float32 and with bfloat16 weights ─► benchmarks/results/studies/lora-accuracy.json

The rates are those that each side's search chose in the study's own precision; neither is searched anew.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.accuracy import STUDY, Peers
from benchmarks.lora.steps import PRECISIONS
from benchmarks.protocol import circumstances
from benchmarks.workers.fine_tune import weights_type
from minitl import fit, load_dataset, load_model, load_tokenizer
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.checkpoints.weights import read_json
from minitl.data import Dataset, sample
from minitl.experiments.study.arms import LORA
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.training import Settings, evaluate

RESULT = STUDY.with_name("lora-accuracy.json")


def ours(settings: dict[str, Any], dataset: Dataset, precision: str, rate: float, seed: int) -> dict[str, Any]:
    """One training as the study does it, but for the type of the weights; the accuracies on validation and test."""
    assert dataset.label_names is not None
    folder, labels = bundled_checkpoint(), settings["labels"]
    task = SequenceClassification(load_tokenizer(folder), dataset.label_names, settings["max_length"])
    torch.manual_seed(seed)
    dtype = weights_type(precision)
    model = load_model(folder, "sequence-classification", labels=dataset.label_names, dtype=dtype)
    train = sample(dataset.train, labels, seed)
    validation = sample(dataset.validation, min(labels, settings["validation"], len(dataset.validation)), seed)
    chosen = Settings(epochs=3, batch_size=settings["batch_size"], learning_rate=rate, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = fit(model, train, validation, task=task, settings=chosen, strategy=LORA, folder=scratch)
    return {
        "validation_accuracy": result.metrics["accuracy"],
        "accuracy": evaluate(model, dataset.test, task=task)["accuracy"],
        "seconds": result.seconds,
    }


def compare_precision(precision: str, seeds: Sequence[int], rates: dict[str, float]) -> dict[str, Any]:
    """Both sides' runs in one precision, in turns."""
    settings = read_json(STUDY)["settings"] | {"autocast": precision}
    dataset = load_dataset(settings["data"])
    peers = Peers(settings, dataset)
    runs: dict[str, list[dict[str, Any]]] = {"minitl": [], "PEFT": []}
    for seed in seeds:
        runs["minitl"].append({"seed": seed, **ours(settings, dataset, precision, rates["minitl"], seed)})
        print(precision, seed, runs["minitl"][-1], flush=True)
        runs["PEFT"].append({"seed": seed, **peers.run("lora", rates["PEFT"], seed)})
    sides = {name: {"learning_rate": rates[name], "runs": taken} for name, taken in runs.items()}
    return {"precision": precision, "title": PRECISIONS[precision], "sides": sides}


def best_rates() -> dict[str, float]:
    """The rate of LoRA that each side's search chose."""
    files = {"minitl": STUDY, "PEFT": STUDY.with_name("sst2-peers.json")}
    arms = {name: read_json(path)["arms"] for name, path in files.items()}
    return {name: next(arm["learning_rate"] for arm in found if arm["arm"] == "lora") for name, found in arms.items()}


def main() -> None:
    settings = read_json(STUDY)["settings"]
    rates = best_rates()
    write_json(
        RESULT,
        {
            "command": "python -m benchmarks.lora_accuracy",
            "labels": settings["labels"],
            "data": settings["data"],
            **circumstances(),
            "rows": [compare_precision(precision, settings["seeds"], rates) for precision in PRECISIONS],
        },
    )
    print(RESULT)


if __name__ == "__main__":
    main()
