"""How long a sweep of probes over all layers takes: `python -m benchmarks.layers`.

    minitl.probe, six tasks with their control tasks, no twin, mixes or code lengths ─► results/studies/layers.json

Needs MINITL_ASSETS. What the layers know is the experiment `layers` (`python -m benchmarks.reproduction layers`), which
docs/probing.md has with this as a table.
"""

from pathlib import Path
from typing import Any

from benchmarks.protocol import RESULTS, say
from benchmarks.reproduction import KEPT
from minitl import load_model, load_tokenizer
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.pages.formats import MISSING, duration
from minitl.pages.machine import run_facts
from minitl.probing.probe import Settings, probe

RESULT = RESULTS / "studies" / "layers.json"
MODEL = "all-MiniLM-L6-v2"
SWEEP = ("length", "suffix", "pos", "relation", "entities", "sentiment")
SENTENCES = 2000
METRICS = {"accuracy": "accuracy", "spearman": "Spearman's ρ", "uuas": "UUAS"}


def markdown(experiment: Path = KEPT / "layers.json", sweep: Path = RESULT) -> str:
    """The table of tasks by layers, what they are held against, and what a sweep costs."""
    found, timed = (read_json(path) for path in (experiment, sweep))
    probed, run = found["results"]["probed"], found["run"]
    heads = ["emb" if layer == 0 else str(layer) for layer in probed["tasks"][0]["layers"]]
    columns = ["task", "metric %", *heads, "random twin", "without vectors", "selectivity", "centre of gravity"]
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---|" * (len(columns) - 2)]
    lines += [_row(task) for task in probed["tasks"]]
    widest = max(one["high"] - one["low"] for task in probed["tasks"] for one in task["scores"][task["metric"]])
    lines += [
        "",
        f"Scores of linear probes on test examples, mean over {len(probed['seeds'])} seeds; 95% intervals are at most "
        f"{widest * 100:.1f} points wide. Bold: the best layer, chosen on validation data. The random twin's score is "
        f"that of its own best layer, the selectivity that of the model's. `minitl reproduce --only layers`, "
        f"{duration(probed['seconds'])} on {run['cpu']}, {run['created'][:10]}. A sweep of "
        f"{len(timed['tasks'])} tasks with their control tasks "
        f"({', '.join(timed['tasks'])}; {timed['sentences']:,} sentences, {timed['seeds']} seeds, "
        f"{timed['representations']} representations), reading included, takes {duration(timed['seconds'])}: "
        f"`{timed['run']['command']}`, {timed['run']['cpu']}, {timed['run']['created'][:10]}.",
    ]
    memorised = [task["title"] for task in probed["tasks"] if _by_heart(task)]
    if memorised:
        lines += [
            "",
            f"Where selectivity is not reliably above 0 ({', '.join(memorised)}), a probe learns made-up labels of the "
            "words as well as the true ones: it may have memorised the words, and its score alone is no evidence. The "
            "embeddings show what memorised words are worth; evidence is what a layer scores above them.",
        ]
    return "\n".join([*lines, ""])


def _by_heart(task: dict[str, Any]) -> bool:
    selectivity = task.get("selectivity")
    return selectivity is not None and float(selectivity[task["layers"].index(task["best"])]["low"]) <= 0


def _row(task: dict[str, Any]) -> str:
    metric = task["metric"]
    scores = task["scores"][metric]
    best = task["layers"].index(task["best"])
    cells = [f"{one['mean'] * 100:.1f}" for one in scores]
    cells[best] = f"**{cells[best]}**"
    twin = _twin(task)
    selectivity = task.get("selectivity")
    mixture = task.get("mixture")
    held = [
        MISSING if twin is None else f"{twin * 100:.1f}",
        f"{task['without_vectors'] * 100:.1f}",
        f"{selectivity[best]['mean'] * 100:.1f}" if selectivity else MISSING,
        f"{mixture['centre_of_gravity']['mean']:.1f}" if mixture else MISSING,
    ]
    return f"| {' | '.join([task['title'], METRICS[metric], *cells, *held])} |"


def _twin(task: dict[str, Any]) -> float | None:
    """What the random twin comes to in the layer that its own validation chose."""
    twin = task["twin"]
    return twin and float(twin["scores"][task["metric"]][task["layers"].index(twin["best"])]["mean"])


def main() -> None:
    model, tokenizer = load_model(MODEL, "backbone"), load_tokenizer(MODEL)
    settings = Settings(unreadable="skip", twin=False, mix=False, code=False)
    report = probe(model, tokenizer, tasks=SWEEP, sentences=SENTENCES, settings=settings, progress=say)
    measured = {
        "tasks": [found.task.title for found in report.found],
        "sentences": SENTENCES,
        "seeds": settings.seeds,
        "representations": len(report.found[0].curve.layers),
        "seconds": report.seconds,
        "run": run_facts(["python", "-m", "benchmarks.layers"]),
    }
    write_json(RESULT, measured)
    print(RESULT)


if __name__ == "__main__":
    main()
