"""The study of five ways as a table, and beside what the peers' own loop reached."""

from pathlib import Path

from minitl.checkpoints.weights import read_json
from minitl.experiments.statistics import Measured
from minitl.experiments.study.summary import read_study
from minitl.pages.formats import MISSING, duration, megabytes, percent, rate, share_trained, with_spread


def study_table(path: Path) -> str:
    """One study as a Markdown table, and a line on what was run."""
    results = read_json(path)
    study = read_study(results)
    lines = [
        "| arm | accuracy % | F1 % | learning rate | trainable | seconds | peak memory | saved |",
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
    results = read_json(path)
    machine = results["machine"]
    return (
        f"`{results['command']}`, which is what `make demo` runs once it has installed, took "
        f"{duration(results['total_seconds'])} on {machine['cpu']}, {machine['cores']} cores, "
        f"{results['created'][:10]}.\n"
    )


def peers_table(ours: Path, peers: Path) -> str:
    """Accuracy of our arms beside that of the peers' own training loop, each at the rate that its search chose."""
    study = read_study(read_json(ours))
    theirs = read_json(peers)
    lines = [
        "| arm | minitl, accuracy % | learning rate | peer, accuracy % | learning rate |",
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
