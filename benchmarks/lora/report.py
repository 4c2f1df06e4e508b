"""A result as a table for the page on speed, and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lora.arms import LIMIT, OURS, PEFT_DEFAULT, peft_eager
from benchmarks.lora.cases import EAGER
from benchmarks.lora.targets import BOTH, FORWARD, Row, over_limit, times_ours
from benchmarks.table import comparisons

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "–"
HOLDS = {True: "holds", False: "**missed**", None: "cannot be said here"}
PEERS: dict[str, Callable[[Row], str]] = {
    "PEFT, adapters in the base's type": lambda row: peft_eager(row["case"]["dtype"]),
    "PEFT, float32 adapters": lambda _: PEFT_DEFAULT,
    "PEFT, compiled": lambda _: "PEFT, compiled, default",
    "PEFT, max-autotune": lambda _: "PEFT, compiled, max-autotune",
    "torchtune-style": lambda _: "torchtune-style",
    "Unsloth-style": lambda _: "Unsloth-style",
    "LoRAFusion-style": lambda _: "LoRAFusion-style",
}
# Okabe and Ito's colours, which differ for every eye, and a hatch for each, for a page without colours.
COLOURS = ["#0072B2", "#E69F00", "#D55E00", "#F0E442", "#CC79A7", "#56B4E9", "#009E73", "#999999"]
HATCHES = ["", "//", "\\\\", "..", "xx", "--", "++", "oo"]


def table(result: Mapping[str, Any]) -> str:
    """The main rows, the training steps where there are some, the targets, and where all this was measured."""
    rows = main_rows(result)
    peers = {title: name for title, name in PEERS.items() if any(_times(row, name(row)) != MISSING for row in rows)}
    columns = ["layer", "path taken", "over the frozen layer: forward", "with backward"]
    columns += [f"times as fast as {title}" for title in peers] + [
        "time of each path forced, over ours",
        "saved beside x",
    ]
    lines = [_cells(columns), "|" + "---|" * len(columns)] if rows else ["No layer was measured."]
    for row in rows:
        times = [_times(row, name(row)) for name in peers.values()]
        over = [_percent(over_limit(row, OURS, step)) for step in (FORWARD, BOTH)]
        saved = f"{row['arms'][OURS]['saved_extra_bytes'] / 2**20:.1f} MiB"
        lines.append(_cells([row["title"], row["path"], *over, *times, _forced(row), saved]))
    if result.get("steps"):
        lines += ["", comparisons([("LoRA step, MiniLM", row) for row in result["steps"]])]
    lines += ["", *(f"- {one['target']}: {one['measured']} – {HOLDS[one['holds']]}" for one in result["targets"])]
    lines += eager_times(result, rows)
    lines += [f"- left out, for want of time: {title}" for title in result["left_out"]]
    lines += [f"- failed: {failure}" for failure in result["failed"]]
    return "\n".join([*lines, "", _origin(result)])


def main_rows(result: Mapping[str, Any]) -> list[Row]:
    return [row for row in result["rows"] if row["case"]["main"]]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.0f}%"


def _times(row: Row, arm: str) -> str:
    times = times_ours(row, arm, BOTH)
    return MISSING if times is None else f"{times:.2f}"


def _forced(row: Row) -> str:
    """Each way of computing ours, by how long it takes beside the one that is taken."""
    ways = [name for name, arm in row["arms"].items() if arm["kind"] == "forced"]
    return ", ".join(f"{name.removeprefix('minitl, ')} {_times(row, name)}" for name in ways)


def eager_times(result: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """On a GPU, where a small layer takes longer to launch than to compute: both without graphs."""
    found = []
    for row in rows if result["device"] != "cpu" else []:
        arms = [row["arms"].get(name, {}).get(BOTH, {}) for name in (OURS, peft_eager(row["case"]["dtype"]))]
        if all(EAGER in arm for arm in arms):
            ours, theirs = (arm[EAGER]["seconds"]["median"] * 1e3 for arm in arms)
            found.append(f"{ours:.2f} against {theirs:.2f} ms ({row['title']})")
    told = "- eager, with its launches, beside PEFT with adapters in the base's type: "
    return [told + "; ".join(found)] if found else []


def _origin(result: Mapping[str, Any]) -> str:
    """How to run it again, and where it was run."""
    machine, versions, rows = result["machine"], result["versions"], result["rows"]
    samples = min((arm[BOTH][row["modes"][0]]["samples"] for row in rows if (arm := row["arms"][OURS])), default=0)
    mode = "CUDA graphs over buffers too large for the caches" if result["device"] != "cpu" else "eager"
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "triton", "peft") if name in versions)
    amx = "" if result["device"] != "cpu" else ", AMX" if result["amx"] else ", no AMX"
    return (
        f"Forward and backward unless it says forward; {mode}, medians of {samples} samples, the arms in turns; "
        f"`{result['command']}`, {_where(result)}{amx}, load average {machine['load_average']:.1f}, {packages}, "
        f"{result['date'][:10]}."
    )


def _where(result: Mapping[str, Any]) -> str:
    """The GPU, or the processor and how much of it."""
    machine = result["machine"]
    on_cpu = f"{machine['cpu']}, {machine['threads']} threads"
    return on_cpu if result["device"] == "cpu" else str(result["device"])


def draw(result: Mapping[str, Any], path: Path) -> None:
    """The overhead over the frozen layer of ours and of every peer, forward and with backward, as an SVG file."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = main_rows(result)
    style = {"svg.hashsalt": result["name"], "svg.fonttype": "none", "font.size": 10, "hatch.linewidth": 0.5}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(12, 2 + 0.95 * len(rows)), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for part, step in zip(axes, (FORWARD, BOTH), strict=True):
            _bars(part, rows, step)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(f"What LoRA adds to a frozen linear layer's time on {_where(result)} (0% = the layer alone)")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(axes: "Axes", rows: Sequence[Row], step: str) -> None:
    """One group of bars a row, ours on top."""
    arms: dict[str, Callable[[Row], str]] = {"minitl": lambda _: OURS} | PEERS
    thickness = 0.85 / len(arms)
    for i, ((title, name), colour, hatch) in enumerate(zip(arms.items(), COLOURS, HATCHES, strict=True)):
        found = [(at, over_limit(row, name(row), step)) for at, row in enumerate(rows)]
        shown = [(at + (i - len(arms) / 2 + 0.5) * thickness, over) for at, over in found if over is not None]
        if shown:
            places, values = zip(*shown, strict=True)
            bars = axes.barh(
                places, values, thickness, color=colour, hatch=hatch, edgecolor="black", linewidth=0.4, label=title
            )
            axes.bar_label(bars, fmt="%.0f%%", fontsize=6, padding=2)
    axes.set_yticks(range(len(rows)), [row["title"].replace(" tokens, ", " tokens,\n", 1) for row in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"{step}: time over that of the {LIMIT}, %")
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
