"""LoRA beside full fine-tuning: which rank and which layers, on SST-2; and what a model of 7 billion would take.

2,000 labels × {full; r = 1, 4, 16, 64 on all linear layers; r = 16 on three choices of them} × rates × seeds
full and r = 16 on all linear layers, whose difference the guide's claim is about, with more seeds
the shape of Mistral-7B: parameters, FLOPs and bytes, counted; on a GPU, a step measured
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from minitl.adapters import LoraConfig
from minitl.checkpoints.hub import MINILM
from minitl.data import Dataset, load_dataset
from minitl.experiments.counting import ATTENTION, QUERY_VALUE
from minitl.experiments.experiment import Results, here
from minitl.experiments.lora.counted import Training, count_all, measure_all
from minitl.experiments.paired import marks
from minitl.experiments.runs import Runs
from minitl.experiments.shapes import MISTRAL
from minitl.experiments.study.arms import Arm, arms_named
from minitl.experiments.study.run import Plan, Run, carry_out
from minitl.experiments.texts import more_from
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import Listener, Strategy

FULL = "full"
ALL, RANK = "all linear layers", 16
FEED_FORWARD = ["feed_forward.up", "feed_forward.down"]  # of an encoder, which has no gate
MODULES = {  # of each transformer layer, by this library's own names
    "query and value": [*QUERY_VALUE],
    "attention": [*ATTENTION],
    "feed-forward": FEED_FORWARD,
    ALL: [*ATTENTION, *FEED_FORWARD],
}
KEPT = (
    *("accuracy", "validation_accuracy", "training_seconds", "steps", "best_epoch", "trainable", "total"),
    *("saved_bytes", "peak_memory_bytes", "right"),
)


@dataclass(frozen=True)
class Scale:
    """How much is run.

    chosen      so many examples of the validation split choose epochs and rates
    more        a set of the same classes, of which what is not in `data` joins the test split: of 872 sentences alone
                no difference of a point can be told, and the rest of the validation split are phrases of sentences that
                are among the labels
    longer      further seeds of the two that are to be told within a point
    …_rates     that the study's search tried, and found best at r = 16 or with everything learning, and one beside it
    training    of the 7B shape, see `Training`
    timed       steps of it that are measured where there is a GPU

    The full run is 61 trainings of 189 steps, of 14 tokens a text with the padding: 7 · 10¹² FLOPs each by LoRA and
    9 · 10¹² in full, validation and test included. Together 5 · 10¹⁴, an hour at 150 GFLOP/s and more at the rate
    that such short texts reach. What is counted costs nothing.
    """

    source: str = MINILM
    data: str = "sst2"
    labels: int = 2000
    seeds: tuple[int, ...] = (0, 1, 2)
    longer: tuple[int, ...] = (3, 4)
    ranks: tuple[int, ...] = (1, 4, 16, 64)
    lora_rates: tuple[float, ...] = (5e-4, 2e-3)
    full_rates: tuple[float, ...] = (5e-5, 1e-4, 2e-4)
    chosen: int = 1000
    more: str = "sentence_polarity"
    training: Training = field(default_factory=Training)
    timed: int = 5


def ways(scale: Scale) -> list[dict[str, Any]]:
    """Every way of learning: {"arm", "modules", "rank"}, full fine-tuning first, with rank 0."""
    found: list[dict[str, Any]] = [{"arm": FULL, "modules": "everything", "rank": 0}]
    for rank in scale.ranks:
        for modules in MODULES if rank == RANK else (ALL,):
            found.append({"arm": f"r{rank}-{modules.replace(' ', '-')}", "modules": modules, "rank": rank})
    return found


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Every way at every rate and seed; what the 7B shape takes."""
    data = here(lambda: load_dataset(scale.data, test_fraction=0.2))
    tokenizer = here(lambda: load_tokenizer(scale.source))
    data.test.extend(more_from(scale.more, data))
    data.validation[:] = data.validation[: scale.chosen]
    plan = Plan(
        scale.source, scale.data, scale.labels, (), scale.seeds, (), {}, validation=scale.chosen, least_steps=1
    )  # fmt: skip
    lines = []
    decisive = [way for way in ways(scale) if way["arm"] == FULL or (way["rank"], way["modules"]) == (RANK, ALL)]
    for way in ways(scale):
        for rate in scale.full_rates if way["arm"] == FULL else scale.lora_rates:
            arm = _arm(way, rate)
            for seed in (*scale.seeds, *(scale.longer if way in decisive else ())):
                line = runs.once(
                    f"{arm.name}-{rate:g}-{seed}",
                    {
                        "scale": [scale.source, scale.data, scale.labels, scale.chosen, scale.more],
                        "way": way,
                        "epochs": arm.epochs,
                        "strategy": asdict(arm.strategy),
                    },
                    partial(_line, Run(arm, scale.labels, seed), plan, data, tokenizer),
                )
                lines.append({**way, "rate": rate, "seed": seed, **line})
    return {
        "model": "all-MiniLM-L6-v2; the shape of Mistral-7B-v0.1, counted",
        "data": f"{scale.data}, {scale.labels:,} labels; tested on {len(data.test):,} sentences, with {scale.more}",
        "seeds": len(scale.seeds),
        "lines": lines,
        "tested": len(data.test),
        "training": asdict(scale.training),
        "counted": count_all(MISTRAL, scale.training),
        "measured": measure_all(runs, MISTRAL, scale.training, scale.timed),
    }


def _arm(way: dict[str, Any], rate: float) -> Arm:
    """The study's arm, at this rate and of this rank; alpha is twice the rank, as the guide advises."""
    if way["arm"] == FULL:
        return arms_named([FULL])[0].at(rate)
    adapters = LoraConfig(r=way["rank"], alpha=2 * way["rank"], dropout=0.1, target_modules=MODULES[way["modules"]])
    return replace(arms_named(["lora"])[0].at(rate), name=way["arm"], strategy=Strategy("lora", lora=adapters))


def _line(
    one: Run, plan: Plan, data: Dataset[Any], tokenizer: Tokenizer, folder: Path, listener: Listener | None
) -> dict[str, Any]:
    saved = folder / "saved"
    line = carry_out(one, plan, data, tokenizer, folder, listener, keep=saved)
    shutil.rmtree(saved)  # its size was wanted
    line["right"] = marks(line["predicted"], [example.label for example in data.test])
    line["training_seconds"] = line.pop("seconds")
    line["peak_memory_bytes"] = round(line.pop("peak_memory_mb") * 1e6)
    return {name: line[name] for name in KEPT}


def preferred(lines: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Of each way the lines of the rate that validation prefers, on the mean over seeds; the test has no say in it."""
    found: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for line in lines:
        found.setdefault(line["arm"], {}).setdefault(line["rate"], []).append(line)
    return {arm: max(by_rate.values(), key=validated) for arm, by_rate in found.items()}


def validated(lines: Sequence[dict[str, Any]]) -> float:
    """Mean accuracy on validation."""
    return sum(line["validation_accuracy"] for line in lines) / len(lines)
