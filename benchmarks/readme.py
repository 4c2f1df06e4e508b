"""Put the measured tables into README.md, between their markers: `python -m benchmarks.readme`.

    <!-- study: sst2 -->        the table of benchmarks/results/studies/sst2.json
    <!-- time: demo -->         how long the study of studies/demo.json took
    <!-- peers: sst2 -->        the same study and what the peers' own loop reached, studies/sst2-peers.json
    <!-- benchmarks -->         the table of benchmarks/results/*.json
    <!-- lora -->               those of benchmarks/results/lora_*.json, with their plots,
                                and studies/lora-accuracy.json
    <!-- tasks -->              studies/tasks.json, each recipe with both sides' scores
    <!-- recipes -->            studies/recipes.json, runs of our own before and after
    <!-- sentiment -->          studies/controlled_sentiment.json
    <!-- layers -->             reproduction/layers.json, studies/layers.json
    <!-- claims -->             reproduction/*.json
    <!-- adapters -->           the tables of benchmarks/results/adapter_sizes.json
    <!-- end -->                where a table ends

With --check nothing is written; the exit status is 1 where the page and the results differ.
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path

from benchmarks import adapter_sizes, layers, reproduction
from benchmarks.lora.report import table
from benchmarks.protocol import RESULTS, ROOT
from benchmarks.table import markdown, result_files
from minitl.experiments.statistics import Measured
from minitl.experiments.study.summary import read_study
from minitl.pages.formats import MISSING, duration, megabytes, percent, rate, share_trained, with_spread

README = ROOT / "README.md"
STUDIES = RESULTS / "studies"
BLOCK = re.compile(
    r"(<!-- (study: (?P<study>\S+)|time: (?P<time>\S+)|peers: (?P<peers>\S+)|(?P<lora>lora)"
    r"|benchmarks|adapters|tasks|recipes|sentiment|layers|claims) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def study_table(path: Path) -> str:
    """One study as a Markdown table, and a line on what was run."""
    results = json.loads(path.read_text(encoding="utf-8"))
    study = read_study(results)
    lines = [
        "| regime | accuracy % | F1 % | learning rate | trainable | seconds | peak memory | saved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in study.arms:
        f1, seconds = arm.measured("f1"), arm.measured("seconds")
        memory, saved = arm.measured("peak_memory_mb"), arm.measured("saved_bytes")
        accuracy = with_spread(arm.accuracy.mean, arm.accuracy.spread)
        lines.append(
            f"| {arm.title} | {accuracy} | {with_spread(f1.mean, f1.spread)} "
            f"| {rate(arm.learning_rate)} | {arm.trainable:,} ({share_trained(arm.percent)}) "
            f"| {seconds.mean:,.1f} | {memory.largest:,.0f} MB | {megabytes(saved.mean) if saved else MISSING} |"
        )
    data, machine, precision = results["data"], results["machine"], results["settings"]["autocast"]
    seeds = f"mean ± standard deviation over {study.seeds} seeds" if study.seeds > 1 else "one seed"
    return "\n".join(
        [
            *lines,
            "",
            f"{study.full_labels:,} labels of {data['name']}, {study.test_size:,} test examples (majority class "
            f"{percent(study.baseline)}), {seeds}; `{results['command']}`, {duration(results['total_seconds'])} on "
            f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}, "
            f"trained in {precision}, {results['created'][:10]}.",
            "",
        ]
    )


def study_time(path: Path) -> str:
    """In a sentence, how long one study took."""
    results = json.loads(path.read_text(encoding="utf-8"))
    machine = results["machine"]
    return (
        f"`{results['command']}`, which is what `make demo` runs once it has installed, took "
        f"{duration(results['total_seconds'])} on {machine['cpu']}, {machine['cores']} cores, "
        f"{results['created'][:10]}.\n"
    )


def peers_table(ours: Path, peers: Path) -> str:
    """Accuracy of our arms beside that of the peers' own training loop, each at the rate that its search chose."""
    study = read_study(json.loads(ours.read_text(encoding="utf-8")))
    theirs = json.loads(peers.read_text(encoding="utf-8"))
    lines = [
        "| regime | minitl, accuracy % | learning rate | peer, accuracy % | learning rate |",
        "|---|---|---|---|---|",
    ]
    for row in theirs["arms"]:
        arm = study.arm(row["arm"])
        assert arm is not None
        peer = Measured(tuple(run["accuracy"] for run in row["runs"]))
        lines.append(
            f"| {arm.title} | {with_spread(arm.accuracy.mean, arm.accuracy.spread)} | {rate(arm.learning_rate)} "
            f"| {row['library']}: {with_spread(peer.mean, peer.spread)} | {rate(row['learning_rate'])} |"
        )
    versions = theirs["versions"]
    return "\n".join(
        [
            *lines,
            "",
            f"{study.full_labels:,} labels, the same ones on both sides, {study.seeds} seeds; `{theirs['command']}`, "
            f"{theirs['machine']['cpu']}, transformers {versions['transformers']}, peft {versions['peft']}, "
            f"{theirs['date'][:10]}.",
            "",
        ]
    )


def benchmark_table() -> str:
    return markdown(result_files()) + "\n"


def lora_tables(folder: Path = RESULTS) -> str:
    """The table and the plot of each device on which the LoRA layer was measured; what was not is said."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("lora_*.json"))]
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
    results = json.loads(path.read_text(encoding="utf-8"))
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


METRICS = {  # those shown of each task
    "classification": ("accuracy", "f1"),
    "regression": ("spearman", "pearson"),
    "token-classification": ("f1", "accuracy"),
    "question-answering": ("f1", "exact_match"),
}


def tasks_table(path: Path) -> str:
    """Each recipe with what both loops reach on its test split."""
    results = json.loads(path.read_text(encoding="utf-8"))
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
    precision = f"products in bfloat16, in float32 for {', '.join(wide)}" if wide else "products in bfloat16"
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
    results = json.loads(path.read_text(encoding="utf-8"))
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
    results = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| model | pairs told right % | mean reward % | KL to where it began, nats | recipe |",
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
        f"(so few that a share is uncertain by {100 * math.sqrt(0.25 / held_out['pairs']):.0f} points, "
        "one standard error); the "
        f'reward is the probability of "positive" by a classifier that is right on {percent(results["classifier"])} '
        "of held-out SST-2, its mean that of "
        f"{held_out['completions']} completions drawn for each held-out prompt; the model that is tuned "
        f"has {results['parameters'] / 1e6:.1f} million weights, and at a perplexity of {results['perplexity']:.0f} "
        f"a token writes words more than sense. `{results['command']}`, {results['date'][:10]}.",
    ]
    return "\n".join([*lines, ""])


def adapter_table() -> str:
    return adapter_sizes.markdown(json.loads(adapter_sizes.RESULT.read_text(encoding="utf-8")))


def filled(page: str) -> str:
    """`page` with every marked table made anew from the committed results."""

    def made(found: re.Match[str]) -> str:
        if found["study"]:
            body = study_table(STUDIES / f"{found['study']}.json")
        elif found["time"]:
            body = study_time(STUDIES / f"{found['time']}.json")
        elif found["peers"]:
            body = peers_table(STUDIES / f"{found['peers']}.json", STUDIES / f"{found['peers']}-peers.json")
        elif found["lora"]:
            body = lora_tables()
        elif found[2] == "tasks":
            body = tasks_table(STUDIES / "tasks.json")
        elif found[2] == "recipes":
            body = recipes_table(STUDIES / "recipes.json")
        elif found[2] == "sentiment":
            body = sentiment_table(STUDIES / "controlled_sentiment.json")
        elif found[2] == "layers":
            body = layers.markdown()
        elif found[2] == "claims":
            body = reproduction.markdown()
        elif found[2] == "adapters":
            body = adapter_table()
        else:
            body = benchmark_table()
        return found[1] + body + found["end"]

    return BLOCK.sub(made, page)


def main() -> int:
    page = README.read_text(encoding="utf-8")
    wanted = filled(page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
