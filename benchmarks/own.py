"""Put what a recipe taught into weights/, as a checkpoint of the project's own: `python -m benchmarks.own NAME …`

    runs/NAME, a finished training ─► weights/NAME: half the bytes, its tokenizer, card, recipe, log and loss curve

NAME is that of a recipe, novels_bert; the folder's has dashes, as `load_model("novels-bert")` asks for it. The weights
are stored in float16 and judged again as they are stored.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.protocol import ROOT
from minitl import load_model, load_tokenizer, save_model
from minitl.checkpoints.atomic import write_text
from minitl.pages.drawing import COLOURS, MARKERS, MUTED, drawing, new_figure, png
from minitl.pages.machine import device_name
from minitl.training import evaluate
from minitl.training.beginning import begin
from minitl.training.card import CARD
from minitl.training.recipe import read_recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS, WEIGHTS = ROOT / "runs", ROOT / "weights"
LIMIT = 20 * 10**6  # bytes of the weights
CURVE = "loss.png"
STEP, VALIDATION = "step", "validation"  # what a line of log.jsonl tells of


def keep(name: str, runs: Path = RUNS, weights: Path = WEIGHTS) -> Path:
    """The folder of the checkpoint; SystemExit where the training is not finished, or its weights are too many."""
    run, folder = runs / name, weights / name.replace("_", "-")
    if not (run / "training.json").exists():
        raise SystemExit(f"{run} holds no finished training: minitl train recipes/{name}.toml")
    recipe = replace(read_recipe(run / "recipe.toml"), out=str(run))
    begun = begin(recipe, anew=False)
    save_model(load_model(run / "model", dtype=torch.float16), folder, load_tokenizer(run / "model"))
    size = (folder / "model.safetensors").stat().st_size
    if size > LIMIT:
        shutil.rmtree(folder)
        raise SystemExit(f"{folder} would have {size / 1e6:.0f} MB of weights, more than {LIMIT / 1e6:.0f}")
    stored, rows = load_model(folder, device=recipe.model.device), recipe.training.eval_batch_size
    # In batches as the training judged it, for these decide what is hidden.
    judged = evaluate(stored, begun.data.validation, task=begun.task, batch_size=rows)
    for file in ("recipe.toml", "log.jsonl"):
        shutil.copyfile(run / file, folder / file)
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    with drawing(picture=True):
        png(curve(events), folder / CURVE)
    card = (run / "model" / CARD).read_text(encoding="utf-8")
    write_text(folder / CARD, card + _said(name, folder.name, device_name(recipe.model.device), events, judged))
    return folder


def _said(name: str, title: str, device: str, events: list[dict[str, Any]], judged: dict[str, float]) -> str:
    steps = events[-1]["step"]
    tokens = fmean(event["tokens"] for event in events if event["event"] == STEP)  # of those steps that were logged
    return f"""
## As a checkpoint of minitl's own

![Loss of training and validation by optimiser steps]({CURVE})

`minitl.load_model("{title}")`. It took {steps:,} steps of some {tokens:,.0f} tokens, in all {steps * tokens / 1e6:,.1f}
million, on one {device}. The weights are stored in float16: as stored, validation has a perplexity of
{judged["perplexity"]:.1f}. `minitl train recipes/{name}.toml`, then `python -m benchmarks.own {name}`.

It is small, has read old novels alone, and says what they say, prejudices included: a thing to study, not to rely on.
"""


def curve(events: list[dict[str, Any]]) -> "Figure":
    """Training loss, each point the mean over a hundredth of what was logged, and validation loss, by steps."""
    figure, axes = new_figure(False, wide=(8.4, 3.4), small=(3.9, 3.4))
    steps = [event for event in events if event["event"] == STEP]
    judged = [event for event in events if event["event"] == VALIDATION]
    width = max(1, len(steps) // 100)
    parts = [steps[i : i + width] for i in range(0, len(steps), width)]
    means = [fmean(step["loss"] for step in part) for part in parts]
    axes.plot([part[-1]["step"] for part in parts], means, color=COLOURS[0], label="training")
    places, losses = ([event[key] for event in judged] for key in ("step", "loss"))
    axes.plot(places, losses, MARKERS[1], color=COLOURS[1], label="validation")
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("loss, nats a token", color=MUTED)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own", description="Keep what recipes taught.")
    parser.add_argument("names", nargs="+", help="of recipes that were trained into runs/: novels_bert")
    for name in parser.parse_args().names:
        print(keep(name))


if __name__ == "__main__":
    main()
