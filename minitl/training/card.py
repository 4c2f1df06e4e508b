"""The page beside a result that says what it is: a model card (Mitchell et al. 2019), with the hub's front matter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minitl.checkpoints.atomic import write_text

CARD = "README.md"

PIPELINES = {  # what the hub calls the tasks
    "classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "causal-lm": "text-generation",
    "instruction": "text-generation",
    "masked-lm": "fill-mask",
    "summarisation": "summarization",
    "translation": "translation",
    "sentence-embedding": "sentence-similarity",
}


def write_card(folder: Path, facts: Mapping[str, Any], data: str, examples: Mapping[str, int | None]) -> None:
    """Write README.md into `folder`.

    facts      what `minitl train` notes of a training
    data       the name of the data set
    examples   how many there were in each split; None of a stream
    """
    write_text(folder / CARD, "\n".join([*_front_matter(facts, data), "", *_page(facts, data, examples)]) + "\n")


def _front_matter(facts: Mapping[str, Any], data: str) -> list[str]:
    lines = ["---", "library_name: minitl", f"tags: [minitl, {facts['task']}, {facts['strategy']}]"]
    if facts["task"] in PIPELINES:
        lines.append(f"pipeline_tag: {PIPELINES[facts['task']]}")
    if facts["base"] and not Path(facts["base"]).exists():  # the hub knows names, not folders
        lines.append(f"base_model: {facts['base']}")
    if not Path(data).exists():
        lines.append(f"datasets: [{data}]")
    return [*lines, "---"]


def _page(facts: Mapping[str, Any], data: str, examples: Mapping[str, int | None]) -> list[str]:
    settings, base = facts["recipe"]["training"], facts["base"] or "random weights"
    sizes = ", ".join(
        f"{split} {'streamed' if count is None else f'{count:,}'}" for split, count in examples.items() if count != 0
    )
    length = f"{settings['epochs']} epochs" if settings.get("steps") is None else f"{settings['steps']:,} steps"
    lines = [
        f"# {facts['task']} on {data}",
        "",
        f"Taught by `{facts['strategy']}` from {base}.",
        "",
        "| | |",
        "|---|---|",
        f"| data | {data}: {sizes} examples |",
        f"| kept | the weights after {facts['best_epoch']:g} epochs, of {length} |",
        f"| optimiser | {settings['optimizer']}, peak rate {settings['learning_rate']:g}, {settings['schedule']} |",
        f"| batch | {settings['batch_size']} × {settings['accumulation']}, seed {settings['seed']} |",
        f"| precision | {settings['autocast']} over {facts['weights']} weights |",
        f"| time | {facts['seconds']:.0f} s, {facts['peak_memory_bytes'] / 2**30:.1f} GiB at the peak |",
        f"| by | torch {torch.__version__} |",
    ]
    if facts["labels"]:
        shown = ", ".join(facts["labels"][:20])
        lines.append(f"| labels | {shown}{', …' if len(facts['labels']) > 20 else ''} |")
    scores = {split: facts[split] for split in ("validation", "test") if facts.get(split)}
    if scores:
        names = list(dict.fromkeys(name for values in scores.values() for name in values))
        lines += ["", "## Scores", "", f"| split | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for split, values in scores.items():
            shown = " | ".join(f"{values[name]:.4f}" if name in values else "" for name in names)
            lines.append(f"| {split} | {shown} |")
    return [*lines, "", "All that was chosen is in `recipe.toml` of the training's folder, and is run again by", "",
            "    minitl train recipe.toml --out AGAIN"]  # fmt: skip
