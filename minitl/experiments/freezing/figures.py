"""What holding layers costs, and which layers change where none is held."""

from typing import TYPE_CHECKING

from minitl.experiments.experiment import Picture, Results
from minitl.experiments.freezing.judge import TITLES, accuracy, change, gain
from minitl.experiments.freezing.run import ALL, WAYS
from minitl.experiments.lines import Line, draw_line, name_lines
from minitl.pages.drawing import COLOURS, INK, MARKERS, MUTED, new_figure
from minitl.pages.formats import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD = [way for way in WAYS if way != ALL]
LOOKS = (1, 3)  # of the two tasks


def _draw_cost(results: Results, narrow: bool) -> "Figure":
    """For each task and way the difference from learning everything, with its noise."""
    figure, axes = new_figure(narrow, wide=(7.4, 3.6), small=(3.9, 3.6))
    for look, (subject, title), shift in zip(LOOKS, TITLES.items(), (-0.1, 0.1), strict=True):
        found = [gain(results, subject, way, ALL) for way in HELD]
        across = [at + shift for at in range(len(HELD))]
        axes.errorbar(
            across, [100 * one for one, _ in found], [100 * noise for _, noise in found],
            fmt=MARKERS[look], color=COLOURS[look], markersize=8, elinewidth=2, label=title,
        )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xticks(range(len(HELD)), [way.replace(" ", "\n") for way in HELD])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("held")
    axes.set_ylabel("accuracy, points\nagainst holding nothing", color=MUTED)
    axes.legend(frameon=False)
    return figure


def _describe_cost(results: Results) -> str:
    told = (
        f"{title}: " + ", ".join(f"{way} {percent(accuracy(results, subject, way).mean)}" for way in WAYS)
        for subject, title in TITLES.items()
    )
    return f"Test accuracy by what is held. {'; '.join(told)}."


def _draw_change(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(7.4, 3.6), small=(3.9, 3.6))
    lines = [
        Line(title, dict(enumerate(change(results, subject))), look)
        for look, (subject, title) in zip(LOOKS, TITLES.items(), strict=True)
    ]
    for line in lines:
        draw_line(axes, line, unit=1)
    axes.set_xticks(range(results["layers"] + 1), ["embed-\ndings", *map(str, range(1, results["layers"] + 1))])
    axes.set_xlabel("layer")
    axes.set_ylabel("1 − CKA", color=MUTED)
    name_lines(axes, lines, narrow, unit=1)
    return figure


def _describe_change(results: Results) -> str:
    told = (
        f"{title}: " + ", ".join(f"{one.mean:.3f}" for one in change(results, subject))
        for subject, title in TITLES.items()
    )
    return f"How much each layer changes, from the embeddings up. {'; '.join(told)}."


PICTURES = (
    Picture(
        "cost",
        "Test accuracy with layers held, against holding none: means over seeds, with their noise.",
        _draw_cost,
        _describe_cost,
    ),
    Picture(
        "change",
        "How far each layer is from what it was (1 − CKA), where all learn: mean, standard deviation and every seed.",
        _draw_change,
        _describe_change,
    ),
)
