"""LoRA in two pictures: accuracy by rank, and the memory of a 7B model's training."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minitl.experiments.experiment import Picture, Results
from minitl.experiments.lines import Line, draw_line, log_axis
from minitl.experiments.lora.counted import EVERYTHING
from minitl.experiments.lora.run import ALL, FULL, RANK, preferred
from minitl.experiments.statistics import Measured
from minitl.pages.drawing import COLOURS, INK, MUTED, new_figure
from minitl.pages.formats import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("weights", "gradients", "optimiser", "activations")


def rank_lines(results: Results) -> list[Line]:
    """All linear layers by rank, the choices of layers at rank 16, and full fine-tuning as a level."""
    ways = preferred(results["lines"])
    ranks = sorted({line["rank"] for line in results["lines"] if line["modules"] == ALL})
    full = _measured(ways.pop(FULL))
    by_rank = {lines[0]["rank"]: _measured(lines) for lines in ways.values() if lines[0]["modules"] == ALL}
    lines = [Line("LoRA, all linear layers", {rank: by_rank[rank] for rank in ranks}, 3)]
    others = [found for found in ways.values() if found[0]["modules"] != ALL]
    for look, found in enumerate(others):
        lines.append(Line(f"LoRA, {found[0]['modules']}", {RANK: _measured(found)}, look))
    return [*lines, Line("Full fine-tuning", dict.fromkeys(ranks, full), 4)]


def _measured(lines: Iterable[dict[str, Any]]) -> Measured:
    return Measured(tuple(line["accuracy"] for line in lines))


def _draw_ranks(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 4.3), small=(3.9, 4.4))
    lines = rank_lines(results)
    for line in lines:
        draw_line(axes, line)
    log_axis(axes, sorted(lines[0].points), "rank of the update", base=2)
    axes.set_ylabel("accuracy, %", color=MUTED)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _describe_ranks(results: Results) -> str:
    told = (
        f"{line.name}: " + ", ".join(f"{percent(one.mean)} at r = {rank}" for rank, one in line.points.items())
        for line in rank_lines(results)[:-1]
    )
    full = rank_lines(results)[-1]
    return f"Accuracy by rank. {'. '.join(told)}. {full.name}: {percent(full.end)}."


def memory_rows(results: Results) -> list[tuple[str, dict[str, int]]]:
    """(what learns and how, bytes of each part), the largest first."""
    rows = []
    for row in results["counted"]:
        name = "full" if row["learns"] == EVERYTHING else f"LoRA, {row['learns']}"
        if "throughout" in row["precision"]:
            name += ", bfloat16 only"
        rows.append((name + (", recomputed" if row["recompute"] else ""), row["bytes"]))
    return sorted(rows, key=lambda row: -row[1]["total"])


def _draw_memory(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 4.6), small=(3.9, 4.8))
    rows = memory_rows(results)
    places = range(len(rows))
    left = [0.0] * len(rows)
    for part, colour in zip(PARTS, COLOURS[1:], strict=True):
        sizes = [held[part] / 1e9 for _, held in rows]
        axes.barh(places, sizes, left=left, color=colour, label=part, height=0.66)
        left = [begin + size for begin, size in zip(left, sizes, strict=True)]
    axes.axvline(results["training"]["card"] / 1e9, color=INK, linewidth=1.2, linestyle="--", label="one card")
    axes.set_yticks(places, [name for name, _ in rows], fontsize=8 if narrow else 10)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("GB")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _describe_memory(results: Results) -> str:
    told = (
        f"{name}: {held['total'] / 1e9:.1f} GB, of it " + ", ".join(f"{part} {held[part] / 1e9:.1f}" for part in PARTS)
        for name, held in memory_rows(results)
    )
    return f"Memory of a step of a 7B model. {'. '.join(told)}."


PICTURES = (
    Picture(
        "lora-ranks",
        "Test accuracy by rank, each at the rate that validation prefers: mean, standard deviation and every seed.",
        _draw_ranks,
        _describe_ranks,
    ),
    Picture(
        "lora-memory",
        "Memory of a training step of Mistral-7B's shape, counted, beside one card's.",
        _draw_memory,
        _describe_memory,
    ),
)
