"""The comparisons with the peers as one Markdown table: `python -m benchmarks.table`."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.protocol import RESULTS
from minitl.checkpoints.weights import read_json

HEADER = """\
| measured | minitl | compared with | times as fast |
|---|---|---|---|"""


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """A table with one line for each comparison, then one line on where and how each file was measured.

    Times are medians with the interquartile range in brackets; "times as fast" is the median, over the rounds, of the
    other side's time divided by ours in the same round.
    """
    table = comparisons([(result["title"], row) for result in results for row in result["rows"]])
    return "\n".join([table, "", *(_origin(result) for result in results)])


def comparisons(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The table alone, of rows with the title of what they belong to."""
    return "\n".join([HEADER, *(line for title, row in rows for line in _lines(title, row))])


# Whose code is compared with; a row's other sides are limits, or this library in another way.
PEERS = ("transformers", "PEFT", "Trainer", "PyTorch", "scikit-learn")


def summary(results: Sequence[dict[str, Any]]) -> str:
    """A line for each file: the lowest, the median and the highest of its rows' ratios to their first peer."""
    lines = ["| benchmark | compared with | lowest ratio | median | highest | settings |", "|---|---|---|---|---|---|"]
    for result in results:
        first = [next((n for n in row["ratios"] if any(peer in n for peer in PEERS)), None) for row in result["rows"]]
        found = [(name, row["ratios"][name]["median"]) for name, row in zip(first, result["rows"], strict=True) if name]
        if found:
            ratios = [ratio for _, ratio in found]
            beside = "; ".join(dict.fromkeys(name for name, _ in found))
            shown = (min(ratios), median(ratios), max(ratios))
            lines.append(
                f"| {result['title']} | {beside} | {' | '.join(f'{one:.2f}' for one in shown)} | {len(ratios)} |"
            )
    return "\n".join(lines)


def result_files() -> list[dict[str, Any]]:
    """The committed results with rows of `benchmarks.protocol.compare`; LoRA's, and sizes, have tables of their own."""
    paths = [path for path in sorted(RESULTS.glob("*.json")) if not path.name.startswith("lora_")]
    found = [read_json(path) for path in paths]
    return [result for result in found if "rows" in result]


def _lines(title: str, row: dict[str, Any]) -> list[str]:
    ours = next(iter(row["sides"]))
    return [
        f"| {title}: {row['case']} | {_figure(row, ours)} | {other}: {_figure(row, other)} "
        f"| {ratio['median']:.2f} [{ratio['iqr']:.2f}] |"
        for other, ratio in row["ratios"].items()
    ]


def _figure(row: dict[str, Any], side: str) -> str:
    seconds = row["sides"][side]["seconds"]
    memory = row["sides"][side]["peak_memory_bytes"]
    parts = [_duration(seconds["median"], seconds["iqr"])]
    if row["amount"] is not None:
        parts.append(f"{row['amount'] / seconds['median']:,.0f} {row['unit']}/s")
    if memory is not None:
        parts.append(f"{memory / 2**20:,.0f} MiB")
    return ", ".join(parts)


def _duration(median: float, spread: float) -> str:
    """Seconds where there are some, else milliseconds."""
    return f"{median:.2f} s [{spread:.2f}]" if median >= 1 else f"{median * 1e3:.1f} ms [{spread * 1e3:.1f}]"


def _origin(result: dict[str, Any]) -> str:
    machine = result["machine"]
    runs = min(len(side["seconds"]["runs"]) for row in result["rows"] for side in row["sides"].values())
    return (
        f"- {result['title']}: `{result['command']}`, {runs} runs a side, {result['date'][:10]}, {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"load average {machine['load_average']:.1f}, "
        f"torch {result['versions']['minitl']['torch']}"
    )


if __name__ == "__main__":
    print(markdown(result_files()))
