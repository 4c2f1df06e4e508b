"""What each layer of MiniLM knows, for the README: `python -m benchmarks.layers [--judge]`

    minitl.probe, six tasks, no twin, mixes or code lengths ─► seconds
                  every usual task, with all of them        ─► results/studies/layers.json, layers-*.png

Needs MINITL_ASSETS. The same as `minitl probe all-MiniLM-L6-v2 --skip-unreadable`, kept where the README finds it. With
--judge nothing is measured: the guide's rows are judged again by the numbers that are there.
"""

import json
import sys
from typing import Any

from benchmarks.protocol import RESULTS
from minitl import load_model, load_tokenizer
from minitl.checkpoints.atomic import write_json
from minitl.pages.drawing import drawing, png
from minitl.pages.formats import MISSING, duration
from minitl.pages.machine import run_facts
from minitl.probing.page import PICTURES
from minitl.probing.probe import Settings, probe
from minitl.probing.record import judged_anew, record

RESULT = RESULTS / "studies" / "layers.json"
MODEL = "all-MiniLM-L6-v2"
SWEEP = ("length", "suffix", "pos", "relation", "entities", "sentiment")  # what is timed
METRICS = {"accuracy": "accuracy", "spearman": "Spearman's ρ", "uuas": "UUAS"}


def markdown(results: dict[str, Any]) -> str:
    """The table of tasks by layers, what they are held against, and the guide's rows with their verdicts."""
    layers = results["tasks"][0]["layers"]
    heads = ["emb" if layer == 0 else str(layer) for layer in layers]
    columns = ["task", "metric %", *heads, "random twin", "without vectors", "selectivity", "centre of gravity"]
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---|" * (len(columns) - 2)]
    lines += [_row(task) for task in results["tasks"]]
    lines += ["", "| the guide says | measured here | verdict |", "|---|---|---|"]
    lines += [f"| {claim['says']} | {claim['measured']} | **{claim['verdict']}** |" for claim in results["guide"]]
    run, timed = results["run"], results["sweep"]
    widest = max(one["high"] - one["low"] for task in results["tasks"] for one in task["scores"][task["metric"]])
    lines += [
        "",
        f"Linear probes, mean over {len(results['seeds'])} seeds, on test examples of which 95% intervals are at most "
        f"{widest * 100:.1f} points wide; the best layer, which validation chose, is bold. The random twin is at its "
        "own, selectivity that of the model's. `python -m benchmarks.layers`, "
        f"{duration(results['seconds'])} on {run['cpu']}, {run['created'][:10]}. A sweep of "
        f"{len(timed['tasks'])} tasks with their control tasks ({', '.join(timed['tasks'])}; 2,000 sentences, 3 seeds, "
        f"{results['model']['layers'] + 1} representations), reading included, takes {duration(timed['seconds'])}.",
    ]
    memorised = [task["title"] for task in results["tasks"] if _by_heart(task)]
    if memorised:
        lines += [
            "",
            f"Where selectivity is not surely above 0 ({', '.join(memorised)}), a probe learns made-up labels of the "
            "words as well as the true ones: it could know words by heart, and its score alone is no evidence. What "
            "words by heart come to, the embeddings tell; evidence is what a layer has above that.",
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


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    if sys.argv[1:] == ["--judge"]:
        write_json(RESULT, judged_anew(json.loads(RESULT.read_text(encoding="utf-8"))))
    else:
        measure()
    print(RESULT)


def measure() -> None:
    model, tokenizer = load_model(MODEL, "backbone"), load_tokenizer(MODEL)
    alone = Settings(unreadable="skip", twin=False, mix=False, code=False)
    timed = probe(model, tokenizer, tasks=SWEEP, settings=alone, progress=_say)
    report = probe(model, tokenizer, settings=Settings(unreadable="skip"), progress=_say)
    facts = run_facts(["python", "-m", "benchmarks.layers"])
    sweep = {"tasks": [found.task.title for found in timed.found], "seconds": timed.seconds}
    write_json(RESULT, {**record(report), "sweep": sweep, "run": facts})
    with drawing(picture=True):
        for name, draw in PICTURES.items():
            png(draw(report), RESULT.parent / f"layers-{name.replace('layers', 'heat')}")


if __name__ == "__main__":
    main()
