"""What there is to see of the four steps: the occurrences of one word, and every measure step by step."""

from typing import TYPE_CHECKING

from minitl.experiments.evolution.judge import NAMES, probed, shares, tuned
from minitl.experiments.evolution.pretraining import STEPS
from minitl.experiments.evolution.sentences import SENSES, WORD
from minitl.experiments.experiment import Picture, Results
from minitl.experiments.lines import Line, draw_line, name_lines
from minitl.experiments.statistics import Measured
from minitl.pages.drawing import COLOURS, MARKERS, MUTED, new_figure
from minitl.pages.formats import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = (1, 3)  # of the senses, in the palette


def _draw_bank(results: Results, narrow: bool) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9, 6.3) if narrow else (9.2, 2.5), layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(3, 2) if narrow else figure.subplots(1, 5)
    shown = _shown(results)
    for axes, (title, one) in zip(grid.flat, shown.items(), strict=False):
        _scatter(axes, one)
        axes.set_title(title, fontsize=11)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _shown(results: Results) -> dict[str, Results]:
    """The vectors of each model's panel, by its title."""
    far = results["far"]
    return {step.title: results["bank"][step.name] for step in STEPS} | {far["model_name"].removeprefix("all-"): far}


def _scatter(axes: "Axes", one: Results) -> None:
    for number, sense in enumerate(SENSES):
        places = [place for place, mine in zip(one["places"], one["senses"], strict=True) if mine == number]
        axes.scatter(
            [x for x, _ in places], [y for _, y in places], s=22, color=COLOURS[LOOKS[number]], alpha=0.75,
            marker=MARKERS[LOOKS[number]], label=f"“{WORD}” of {sense}", linewidths=0,
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{percent(shares(one)[0].mean)} told apart", fontsize=9.5)
    axes.margins(0.12)


def _describe_bank(results: Results) -> str:
    told = ", ".join(f"{title} {percent(shares(one)[0].mean)}" for title, one in _shown(results).items())
    one = results["bank"][STEPS[0].name]["model"]
    return (
        f"The vectors of {one['occurrences']} occurrences of “{WORD}” in two dimensions, by sense, in each model: on "
        f"one point in {STEPS[0].title}, spread out in the others. Told apart by the nearest centroid: {told}."
    )


def _lines(results: Results) -> list[Line]:
    first = results["probed"][STEPS[0].name]
    lines: list[Line] = []
    for task, one in first.items():
        found = {i: Measured((probed(results, step.name, task)["mean"],)) for i, step in enumerate(STEPS)}
        lines.append(Line(f"{one['title']}, probed", found, len(lines) % len(COLOURS)))
    for name, part in results["tuned"].items():
        found = {i: tuned(part, step.name) for i, step in enumerate(STEPS)}
        lines.append(Line(NAMES[name], found, len(lines) % len(COLOURS)))
    return lines


def _draw_steps(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 4.3), small=(3.9, 3.9))
    lines = _lines(results)
    for line in lines:
        draw_line(axes, line)
    axes.set_xticks(range(len(STEPS)), [step.title for step in STEPS])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("accuracy, %", color=MUTED)
    name_lines(axes, lines, narrow)
    return figure


def _describe_steps(results: Results) -> str:
    told = (
        f"{line.name}: " + ", ".join(f"{step.title} {percent(line.points[i].mean)}" for i, step in enumerate(STEPS))
        for line in _lines(results)
    )
    return "Each measure by model. " + ". ".join(told) + "."


PICTURES = (
    Picture(
        "bank",
        f"Occurrences of “{WORD}”, two principal components of their vectors, by sense: one point in the static model.",
        _draw_bank,
        _describe_bank,
    ),
    Picture(
        "steps",
        "Probes (accuracy in the layer which validation chose) and fine-tuned tasks, step by step; every seed a dot.",
        _draw_steps,
        _describe_steps,
    ),
)
