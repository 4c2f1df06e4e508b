"""The BERT family in two pictures: speed beside BERT-base, and what the parameters are spent on."""

from typing import TYPE_CHECKING

from minitl.experiments.experiment import Picture, Results
from minitl.experiments.family.judge import ratios, told
from minitl.experiments.family.run import REFERENCE, TITLES
from minitl.pages.drawing import COLOURS, INK, MARKERS, MUTED, PAPER, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _draw_speed(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 4.6), small=(3.9, 4.8))
    names = [name for name in TITLES if name != REFERENCE and ratios(results, name)]
    lengths = sorted({line["length"] for line in results["speed"]})
    axes.axvline(1, color=INK, linewidth=1.2)
    for place, length in enumerate(lengths):
        rows = [
            (row, ratios(results, name)[length]) for row, name in enumerate(names) if length in ratios(results, name)
        ]
        heights = [row + (place - (len(lengths) - 1) / 2) * 0.14 for row, _ in rows]
        axes.hlines(
            heights, [one.low for _, one in rows], [one.high for _, one in rows], color=COLOURS[place], linewidth=1.5
        )
        axes.plot(
            [one.median for _, one in rows], heights, MARKERS[place], color=COLOURS[place], markersize=6.5,
            markeredgecolor=PAPER, label=f"{length:,} tokens",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names], fontsize=9 if narrow else 11)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times as fast as BERT-base", color=MUTED)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _describe_speed(results: Results) -> str:
    parts = (f"{TITLES[name]}: {told(ratios(results, name))}" for name in TITLES if name != REFERENCE)
    return f"Speed beside BERT-base. {'. '.join(parts)}."


def _draw_sizes(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 3.6), small=(3.9, 3.8))
    members = results["members"]
    places = range(len(members))
    embeddings = [one["embeddings"] / 1e6 for one in members]
    rest = [(one["total"] - one["embeddings"]) / 1e6 for one in members]
    axes.barh(places, rest, color=COLOURS[1], label="layers", height=0.66)
    axes.barh(places, embeddings, left=rest, color=COLOURS[3], label="embeddings", height=0.66)
    axes.set_yticks(places, [TITLES[one["name"]] for one in members], fontsize=9 if narrow else 11)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("parameters, millions", color=MUTED)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _describe_sizes(results: Results) -> str:
    parts = (
        f"{TITLES[one['name']]}: {(one['total'] - one['embeddings']) / 1e6:.1f} and {one['embeddings'] / 1e6:.1f}"
        for one in results["members"]
    )
    return f"Millions of parameters in layers and embeddings. {'. '.join(parts)}."


PICTURES = (
    Picture(
        "family-speed",
        "How many times as fast as BERT-base each reads, by the length of the texts: medians of rounds in turns, and "
        "their 95% intervals.",
        _draw_speed,
        _describe_speed,
    ),
    Picture("family-size", "What the parameters are spent on.", _draw_sizes, _describe_sizes),
)
