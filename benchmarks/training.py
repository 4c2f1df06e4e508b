"""An epoch of fine-tuning, loop against loop, on sentences as they come: `python -m benchmarks.training`.

What makes the difference: batches of similar length, so that little is padded; products and dropouts that cost less;
of a frozen backbone, features that are computed once (from the second epoch on, which is what is timed).
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.protocol import Worker, compare, peers_python, save
from benchmarks.workers.learn_epoch import EXAMPLES
from minitl.experiments.reproduce import bundled_checkpoint

CASES = [
    ("full", "float32"),
    ("full", "bfloat16"),
    ("lora", "float32"),
    ("lora", "bfloat16"),
    ("frozen", "float32"),
]
SPREADS = ("32-32", "16-48", "3-61")  # as many tokens in each, ever more of them padding


def main() -> None:
    folder, rows = bundled_checkpoint(), []
    for method, precision in CASES:
        name = "Trainer" if method != "lora" else "Trainer, PEFT"
        sides = {"minitl": "minitl", name: "peers", f"{name}, grouped": "peers-grouped"}
        case = f"SST-2, {method}, {precision}" + (" autocast" if precision == "bfloat16" else "")
        rows.append(_row(case, sides, folder, method, precision, "sst2"))
    for spread in SPREADS:
        short, long = spread.split("-")
        case = f"full, float32, texts of {short} and {long} tokens"
        rows.append(_row(case, {"minitl": "minitl", "Trainer": "peers"}, folder, "full", "float32", spread))
    path = save("training", f"An epoch of {EXAMPLES} texts, MiniLM", rows)
    draw(rows, path.with_suffix(".svg"))
    print(path)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Seconds of an epoch against how much longer the longest texts are than the mean: the tokens are as many."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    measured = [row for row in rows if "tokens" in row["case"]]
    padded = [100 * (1 - 32 / int(spread.split("-")[1])) for spread in SPREADS]
    for name, colour in (("minitl", "#1f6f8b"), ("Trainer", "#c2571a")):
        seconds = [row["sides"][name]["seconds"] for row in measured]
        medians, spread = [s["median"] for s in seconds], [s["iqr"] / 2 for s in seconds]
        axes.errorbar(padded, medians, yerr=spread, marker="o", capsize=3, color=colour, label=name)
        axes.annotate(name, (padded[-1], medians[-1]), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_xlim(-3, padded[-1] + 12)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("padding in a batch drawn at random, %")
    axes.set_ylabel("seconds for 8,192 tokens")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _row(case: str, sides: dict[str, str], folder: str, method: str, precision: str, texts: str) -> dict[str, object]:
    with contextlib.ExitStack() as open_workers:
        workers = {}
        for name, library in sides.items():
            python = {} if library == "minitl" else {"python": peers_python()}
            worker = Worker("benchmarks.workers.learn_epoch", library, folder, method, precision, texts, **python)
            workers[name] = open_workers.enter_context(worker)
        return compare(case, workers, warm_up=1, runs=7, amount=EXAMPLES, unit="texts")


if __name__ == "__main__":
    main()
