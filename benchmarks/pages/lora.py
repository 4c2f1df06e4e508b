"""The LoRA layer by itself, on each device on which it was measured, and what its trainings reach."""

from pathlib import Path

from benchmarks.lora.report import table
from benchmarks.protocol import RESULTS
from minitl.checkpoints.weights import read_json
from minitl.experiments.statistics import Measured
from minitl.pages.formats import rate, with_spread


def lora_tables(folder: Path = RESULTS) -> str:
    """The table and the plot of each device on which the LoRA layer was measured; what was not is said."""
    found = [read_json(path) for path in sorted(folder.glob("lora_*.json"))]
    parts = []
    for result in found:
        plot = Path("benchmarks") / "results" / f"{result['name']}.svg"
        parts.append(f"![What LoRA adds to a frozen linear layer's time, {result['device']}]({plot})\n")
        parts.append(f"{table(result)}\n")
    if all(result["device"] == "cpu" for result in found):
        parts.append("On a GPU nothing has been measured yet: there is no figure of the CUDA path.\n")
    if all(result["device"] != "cpu" for result in found):
        parts.append("On a processor nothing has been measured yet.\n")
    accuracy = folder / "studies" / "lora-accuracy.json"
    if accuracy.exists():
        parts.append(lora_accuracy_table(accuracy))
    return "\n".join(parts)


def lora_accuracy_table(path: Path) -> str:
    """What both sides' LoRA trainings reach in the precisions whose steps are timed."""
    results = read_json(path)
    lines = [
        "| weights | minitl, accuracy % | learning rate | PEFT, accuracy % | learning rate |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        cells = [row["title"]]
        for side in row["sides"].values():
            reached = Measured(tuple(run["accuracy"] for run in side["runs"]))
            cells += [with_spread(reached.mean, reached.spread), rate(side["learning_rate"])]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = len(results["rows"][0]["sides"]["minitl"]["runs"])
    lines += ["", f"LoRA on {results['labels']:,} labels of {results['data']}, {seeds} seeds; `{results['command']}`, "]
    lines[-1] += f"{results['machine']['cpu']}, {results['date'][:10]}."
    return "\n".join([*lines, ""])
