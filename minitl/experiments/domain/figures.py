"""F1 of the tasks by what was adapted to."""

from typing import TYPE_CHECKING

from minitl.experiments.domain.judge import f1, tell, title
from minitl.experiments.domain.run import ARMS, DOMAIN, NONE, UNRELATED
from minitl.experiments.experiment import Picture, Results
from minitl.pages.drawing import COLOURS, MARKERS, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {NONE: "no adaptation", UNRELATED: "novels", DOMAIN: "the domain"}
LOOKS = {NONE: 0, UNRELATED: 1, DOMAIN: 3}
WIDTH = 0.22  # between the arms of a task


def _draw(results: Results, narrow: bool) -> "Figure":
    """A column of dots for each task and arm: every seed, and the mean."""
    figure, axes = new_figure(narrow, wide=(7.4, 3.9), small=(3.9, 3.8))
    tasks = list(results["tasks"])
    for place, arm in enumerate(sorted(ARMS, key=list(NAMES).index)):
        colour, marker = COLOURS[LOOKS[arm]], MARKERS[LOOKS[arm]]
        found = [f1(results, task, arm) for task in tasks]
        across = [at + (place - 1) * WIDTH for at in range(len(tasks))]
        for at, one in zip(across, found, strict=True):
            axes.plot([at] * len(one.values), [100 * value for value in one.values], ".", color=colour, alpha=0.5)
        means = [100 * one.mean for one in found]
        axes.plot(across, means, marker, color=colour, markersize=9, label=NAMES[arm])
    axes.set_xticks(range(len(tasks)), [title(task) for task in tasks])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test F1, %", color=MUTED)
    axes.legend(frameon=False, title="adapted to")
    return figure


PICTURES = (Picture("domain", "Test F1 by what the model was adapted to: means, and every seed.", _draw, tell),)
