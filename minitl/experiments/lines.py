"""What a plot shows of a measurement: the mean over seeds, its spread, and every seed; as lines, or in rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from minitl.experiments.statistics import Measured
from minitl.pages.drawing import COLOURS, MARKERS, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """What was measured at rising places of the horizontal axis; `look` is the line's own place in the palette."""

    name: str
    points: Mapping[int, Measured] | Mapping[float, Measured]
    look: int

    @property
    def colour(self) -> str:
        return COLOURS[self.look]

    @property
    def last(self) -> float:
        return max(self.points)

    @property
    def end(self) -> float:
        """The mean at the last place."""
        return list(self.points.values())[-1].mean


def draw_line(axes: "Axes", line: Line, unit: float = 100) -> None:
    """The means as a line, their standard deviations as a band, every seed as a dot; values times `unit`."""
    places, found = list(line.points), list(line.points.values())
    means = [one.mean * unit for one in found]
    spreads = [one.spread * unit for one in found]
    spreads = [spread if math.isfinite(spread) else 0.0 for spread in spreads]
    if any(spreads):
        below = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        above = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        axes.fill_between(places, below, above, color=line.colour, alpha=0.14, linewidth=0)
        for place, one in zip(places, found, strict=True):
            values = [value * unit for value in one.values]
            axes.plot([place] * len(values), values, ".", color=line.colour, alpha=0.5, markersize=4)
    axes.plot(
        places, means, f"-{MARKERS[line.look]}", color=line.colour, linewidth=2, markersize=7.5,
        markeredgecolor=PAPER, markeredgewidth=1, label=line.name,
    )  # fmt: skip


def draw_rows(
    axes: "Axes", rows: Sequence[float], values: Sequence[Sequence[float]], look: int, name: str = "", unit: float = 100
) -> None:
    """In each row the mean over seeds as a marker, and every seed as a dot; values times `unit`."""
    for row, seeds in zip(rows, values, strict=True):
        dots = [unit * value for value in seeds]
        axes.plot(dots, [row] * len(dots), ".", color=COLOURS[look], alpha=0.5, markersize=5)
    axes.plot(
        [unit * fmean(seeds) for seeds in values], rows, MARKERS[look], color=COLOURS[look], markersize=7.5,
        markeredgecolor=PAPER, label=name,
    )  # fmt: skip


def log_axis(axes: "Axes", places: Sequence[float], label: str, base: float = 10) -> None:
    """Make the horizontal axis logarithmic, with a tick at each of these places and at no other."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(f"{label} (log scale)")


def name_lines(axes: "Axes", lines: Sequence[Line], narrow: bool, unit: float = 100) -> None:
    """The lines' names: at their ends, or in a legend where there is little width."""
    if narrow:
        axes.legend(frameon=False, fontsize=9)
    else:
        name_ends(axes, lines, unit)


def name_ends(axes: "Axes", lines: Sequence[Line], unit: float = 100) -> None:
    """Write the name of each line that reaches the right end there, pushed apart where lines end close together."""
    last = max(line.last for line in lines)
    ends = sorted((line for line in lines if line.last == last), key=lambda line: line.end)
    low, high = axes.get_ylim()
    heights = _apart([line.end * unit for line in ends], gap=(high - low) * 0.062)
    for height, line in zip(heights, ends, strict=True):
        axes.annotate(
            line.name, (last, height), (11, 0), textcoords="offset points", va="center", color=line.colour,
            fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _apart(heights: list[float], gap: float) -> list[float]:
    """Ascending heights moved, each as little as its neighbours allow, until any two are about `gap` apart."""
    heights = list(heights)
    for _ in range(100):
        for below in range(len(heights) - 1):
            overlap = gap - (heights[below + 1] - heights[below])
            if overlap > 0:
                heights[below] -= overlap / 2
                heights[below + 1] += overlap / 2
    return heights
