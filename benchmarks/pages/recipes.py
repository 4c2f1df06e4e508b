"""What the recipes reach: beside a peer's loop, before and after, and in the study of preferences."""

import math
import statistics
from pathlib import Path

from minitl.checkpoints.weights import read_json
from minitl.experiments.statistics import Measured
from minitl.pages.formats import MISSING, percent, with_spread

METRICS = {  # those shown of each task
    "classification": ("accuracy", "f1"),
    "regression": ("spearman", "pearson"),
    "token-classification": ("f1", "accuracy"),
    "question-answering": ("f1", "exact_match"),
}


def tasks_table(path: Path) -> str:
    """Each recipe with what both loops reach on its test split."""
    results = read_json(path)
    lines = [
        "| task | data (train / validation / test) | recipe | metric % | minitl | transformers |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        ours, theirs = row["sides"]["minitl"], row["sides"]["transformers"]
        sizes = " / ".join(f"{size:,}" for size in row["sizes"])
        shown = [name for name in METRICS[row["task"]] if name in ours[0]["test"]]
        sides = []
        for runs in (ours, theirs):
            reached = [Measured(tuple(run["test"][name] for run in runs)) for name in shown]
            sides.append("; ".join(with_spread(one.mean, one.spread) for one in reached))
        lines.append(
            f"| {row['task']} | {row['data']} ({sizes}) | [`{row['recipe']}`]({row['recipe']}) "
            f"| {'; '.join(name.replace('_', ' ') for name in shown)} | {sides[0]} | {sides[1]} |"
        )
    last = results["rows"][-1]
    versions = last["versions"]
    counts = sorted({len(row["sides"]["minitl"]) for row in results["rows"]})
    seeds = "one seed" if counts == [1] else f"mean ± standard deviation over {' or '.join(map(str, counts))} seeds"
    wide = [Path(row["recipe"]).stem for row in results["rows"] if row["precision"] == "float32"]
    precision = "matrix products in bfloat16" + (f", in float32 for {', '.join(wide)}" if wide else "")
    lines += [
        "",
        f"Scores on the test split, {seeds}; tokens, batches by length, peak rates, epochs, metric and precision are "
        f"the same on both sides ({precision}); `{results['command']}`, "
        f"{last['machine']['cpu']}, transformers {versions['transformers']}, {last['date'][:10]}.",
    ]
    return "\n".join([*lines, ""])


SHOWN = {  # of runs without a peer, with what a figure is multiplied by
    "classification": (("accuracy", 100),),
    "sentence-embedding": (("spearman", 100), ("mrr", 100)),
    "translation": (("bleu", 1), ("chrf", 1)),
    "summarisation": (("rouge1", 100), ("rougeL", 100)),
    "masked-lm": (("perplexity", 1),),
    "causal-lm": (("perplexity", 1),),
    "instruction": (("perplexity", 1),),
    "replaced-tokens": (("auc", 100), ("f1", 100)),
}


def recipes_table(path: Path) -> str:
    """Each run with what its model said of the judged split before and after."""
    results = read_json(path)
    lines = ["| what | recipe | changed | measured on | before | after |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        runs, recipe = row["runs"], f"recipes/{row['recipe']}.toml"
        for metric, factor in SHOWN[row["task"]]:
            if metric not in runs[0]["after"]:
                continue
            cells = []
            for when in ("before", "after"):
                reached = [factor * run[when][metric] for run in runs]
                cells.append(_mean(reached))
            size = runs[0]["sizes"][2 if runs[0]["split"] == "test" else 1]
            lines.append(
                f"| {row['name']} | [`{row['recipe']}`]({recipe}) | {_listed(row['options'])} "
                f"| {runs[0]['split']}, {size:,}: {metric} | {cells[0]} | {cells[1]} |"
            )
    lines += [
        "",
        f"Mean ± standard deviation where there are several seeds; `{results['command']}`, "
        f"{results['rows'][-1]['machine']['cpu']}, {results['rows'][-1]['date'][:10]}.",
    ]
    return "\n".join([*lines, ""])


def _listed(options: list[str]) -> str:
    return ", ".join(f"`{option}`" for option in options) or MISSING


def _mean(values: list[float]) -> str:
    mean = statistics.fmean(values)
    digits = 0 if mean >= 1000 else 1
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:,.{digits}f}{spread}"


SENTIMENT = ("accuracy", "reward", "kl")


def sentiment_table(path: Path) -> str:
    """What tuning by preferences does to a small language model, on held-out prompts."""
    results = read_json(path)
    lines = [
        "| model | pairs ranked right % | mean reward % | KL from the start, nats | recipe |",
        "|---|---|---|---|---|",
    ]
    judge = {"title": "reward model", "recipe": "recipes/reward.toml", "tests": results["reward_model"]}
    for row in [*results["rows"], judge]:
        found = {name: Measured(tuple(t.get(name, math.nan) for t in row["tests"])) for name in SENTIMENT}
        told, reward, kl = found.values()
        far = f"{kl.mean:.2f}" + (f" ± {kl.spread:.2f}" if math.isfinite(kl.spread) else "")
        lines.append(
            f"| {row['title']} | {with_spread(told.mean, told.spread)} | {with_spread(reward.mean, reward.spread)} "
            f"| {far if math.isfinite(kl.mean) else MISSING} | [`{row['recipe']}`]({row['recipe']}) |"
        )
    held_out, count = results["held_out"], len(results["seeds"])
    seeds = "One seed" if count == 1 else f"Mean ± standard deviation over {count} seeds of the tuning"
    lines += [
        "",
        f"{seeds}; "
        f"{results['pairs']:,} pairs, of which {held_out['pairs']} on {held_out['prompts']} prompts are held out "
        f"(so few that a share has a standard error of {100 * math.sqrt(0.25 / held_out['pairs']):.0f} points); the "
        f'reward is the probability of "positive" by a classifier that is right on {percent(results["classifier"])} '
        "of held-out SST-2, averaged over "
        f"{held_out['completions']} completions drawn for each held-out prompt; the model that is tuned "
        f"has {results['parameters'] / 1e6:.1f} million weights, and at a perplexity of {results['perplexity']:.0f} "
        f"a token it writes words rather than sense. `{results['command']}`, {results['date'][:10]}.",
    ]
    return "\n".join([*lines, ""])
