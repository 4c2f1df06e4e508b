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
from minitl.checkpoints.hub import bundled_checkpoint

CASES = [
    ("full", "float32"),
    ("full", "bfloat16"),
    ("lora", "float32"),
    ("lora", "bfloat16"),
    ("frozen", "float32"),
]
SPREADS = ("32-32", "16-48", "3-61")  # as many tokens in each, beside them ever more padding
LENGTHS = ("8-8", "16-16", "64-64")  # and, with 32-32, ever more tokens without padding


def main() -> None:
    folder, rows = bundled_checkpoint(), []
    for method, precision in CASES:
        name = "Trainer" if method != "lora" else "Trainer, PEFT"
        sides = {"minitl": "minitl", name: "peers", f"{name}, grouped": "peers-grouped"}
        case = f"SST-2, {method}, {precision}" + (" autocast" if precision == "bfloat16" else "")
        rows.append(_row(case, sides, folder, method, precision, "sst2"))
    for spread in (*SPREADS, *LENGTHS):
        rows.append(_row(_case(spread), {"minitl": "minitl", "Trainer": "peers"}, folder, "full", "float32", spread))
    path = save("training", f"An epoch of {EXAMPLES} texts, MiniLM", rows)
    draw(rows, path.with_suffix(".svg"))
    print(path)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Seconds of an epoch, on the left against padding beside the same tokens, on the right against tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    taken = {row["case"]: row["sides"] for row in rows}
    for name, colour in (("minitl", "#1f6f8b"), ("Trainer", "#c2571a")):
        for axes, spreads, place in ((left, SPREADS, _padding), (right, (*LENGTHS[:2], "32-32", LENGTHS[2]), _tokens)):
            seconds = [taken[_case(spread)][name]["seconds"] for spread in spreads]
            places = [place(spread) for spread in spreads]
            medians, spread_of = [one["median"] for one in seconds], [one["iqr"] / 2 for one in seconds]
            axes.errorbar(places, medians, yerr=spread_of, marker="o", capsize=3, color=colour, label=name)
            axes.annotate(name, (places[-1], medians[-1]), xytext=(6, 0), textcoords="offset points", va="center")
    for axes in (left, right):  # once all is in them: a limit that is set holds
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.03 * axes.get_xlim()[1], 1.25 * axes.get_xlim()[1])
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xlabel("padding beside 8,192 tokens, %")
    right.set_xlabel("tokens, no padding")
    left.set_ylabel("seconds of an epoch")
    figure.savefig(path, metadata={"Date": None})


def _padding(spread: str) -> float:
    """Of a batch that is as long as its longest texts, %; the mean text has 32 tokens."""
    return 100 * (1 - 32 / int(spread.split("-")[1]))


def _tokens(spread: str) -> float:
    return EXAMPLES * int(spread.split("-")[1])


def _case(spread: str) -> str:
    short, long = spread.split("-")
    return f"full, float32, texts of {short} and {long} tokens"


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
