"""The report's plots, as `minitl.pages.drawing` makes them.

Wide and narrow drawings of one figure differ in size, not in content; the page shows the one that fits.
"""

import math
from typing import Any

from minitl.experiments.lines import Line, draw_line, log_axis, name_ends
from minitl.experiments.statistics import interval
from minitl.experiments.study.arms import ARMS
from minitl.experiments.study.claims import SCRATCH_RANGE, TRANSFER_RANGE
from minitl.experiments.study.summary import SCRATCH, MeasuredArm, Study
from minitl.pages.drawing import BAND, COLOURS, INK, MARKERS, MUTED, PAPER, drawing, new_figure, svg

ARM_ORDER = tuple(arm.name for arm in ARMS)
MOST_POINTS = 400  # a longer loss curve is thinned: the page stays small, the eye sees no difference
SMOOTHING = 0.6  # weight of the past in the smoothed loss


def colour_index(study: Study, name: str) -> int:
    """The place of an arm in the palette: its own in every figure of every study, whichever arms were run."""
    if name in ARM_ORDER:
        return ARM_ORDER.index(name)
    return next(index for index, arm in enumerate(study.arms) if arm.name == name) % len(COLOURS)


def accuracy_against_guide(study: Study, narrow: bool = False) -> str:
    """Each arm's accuracy on all labels with its 95% interval, over the range that the guide gives at 1,000 labels."""
    with drawing():
        rows = len(study.arms)
        figure, axes = new_figure(narrow, wide=(8.4, 0.75 + 0.45 * rows), small=(3.9, 0.7 + 0.6 * rows))
        for row, arm in enumerate(study.arms):
            low, high = SCRATCH_RANGE if arm.name == SCRATCH else TRANSFER_RANGE
            axes.barh(row, (high - low) * 100, left=low * 100, height=0.62, color=BAND)
            mean = arm.accuracy.mean
            if not math.isfinite(mean):
                continue
            bottom, top = interval(mean, study.test_size)
            colour, marker = _look(study, arm)
            axes.plot([bottom * 100, top * 100], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(mean * 100, row, marker, color=colour, markersize=9, markeredgecolor=PAPER, markeredgewidth=1.2)
            axes.text(1.02, row, f"{mean * 100:.1f}", transform=axes.get_yaxis_transform(), va="center")
        axes.set_yticks(range(rows), [arm.short for arm in study.arms])
        axes.tick_params(axis="y", labelcolor=INK)
        if narrow:  # the names go above their rows, where there is room
            axes.set_yticks([])
            for row, arm in enumerate(study.arms):
                axes.text(0, row - 0.36, arm.short, transform=axes.get_yaxis_transform(), va="bottom", fontsize=10)
        axes.set_ylim(rows - 0.5, -0.9 if narrow else -0.5)
        lows = [interval(arm.accuracy.mean, study.test_size)[0] for arm in study.arms if arm.accuracy]
        axes.set_xlim(math.floor(min([0.5, *lows]) * 10) * 10, 100)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("test accuracy, %")
        label = "; ".join(f"{arm.short} {_percent(arm.accuracy.mean)}" for arm in study.arms)
        return svg(figure, "forest", narrow, f"Dot plot of test accuracy on all labels: {label}.")


def accuracy_by_labels(study: Study, narrow: bool = False) -> str:
    """Accuracy against the number of labels (log axis): mean over seeds, its spread as a band, every seed as a dot."""
    with drawing():
        figure, axes = new_figure(narrow, wide=(8.4, 4.3), small=(3.9, 3.7))
        counts = sorted({labels for by_labels in study.curve.values() for labels in by_labels})
        lines = [
            Line(arm.short, points, colour_index(study, arm.name))
            for arm in study.arms
            if (points := {n: found for n, found in study.curve.get(arm.name, {}).items() if found})
        ]
        for line in lines:
            draw_line(axes, line)
        log_axis(axes, counts, "labels to train on")
        axes.set_ylabel("" if narrow else "test accuracy, %")
        left, right = axes.get_xlim()
        axes.set_xlim(left, right)
        # Only as far as the last point: the names of the lines stand behind it.
        axes.hlines(study.baseline * 100, left, counts[-1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{study.baseline_name} {study.baseline:.0%}", (0.7, study.baseline * 100), (0, -5), va="top", ha="center",
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=MUTED, fontsize=10,
        )  # fmt: skip
        if not narrow:
            name_ends(axes, [line for line in lines if line.last == counts[-1]])
        return svg(figure, "labels", narrow, _describe_curve(study))


def loss_curve(study: Study, arm: MeasuredArm) -> str:
    """One arm's training loss, raw and smoothed, with its validation loss after each epoch; every seed a line."""
    with drawing():
        figure, axes = new_figure(True, wide=(0, 0), small=(3.9, 2.5))
        colour, marker = _look(study, arm)
        for run in arm.runs:
            epochs, losses = _finite(run.get("curve"), "epoch", "loss")
            step = max(1, math.ceil(len(losses) / MOST_POINTS))
            axes.plot(epochs[::step], losses[::step], color=colour, alpha=0.3, linewidth=0.9)
            axes.plot(epochs[::step], _smoothed(losses)[::step], color=colour, linewidth=1.6)
            epochs, losses = _finite(run.get("validation"), "epoch", "loss")
            size = 6 if len(epochs) <= 10 else 3
            axes.plot(epochs, losses, marker, color=PAPER, markeredgecolor=INK, markeredgewidth=1.2, markersize=size)
        axes.set_ylim(0, _highest_loss(study) * 1.05)
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", integer=True, nbins=8)
        axes.set_xlabel("epoch")
        first = arm.runs[0] if arm.runs else {}
        _, train = _finite(first.get("curve"), "epoch", "loss")
        _, held_out = _finite(first.get("validation"), "epoch", "loss")
        label = f"Loss of {arm.short}."
        if train:
            label += f" Training from {train[0]:.2f} to {train[-1]:.2f}."
        if held_out:
            label += " Validation after each epoch: " + ", ".join(f"{loss:.2f}" for loss in held_out) + "."
        return svg(figure, f"loss-{colour_index(study, arm.name)}", True, label)


def has_losses(arm: MeasuredArm) -> bool:
    """Whether any run of the arm logged a finite loss, to draw."""
    return any(_finite(run.get(part), "epoch", "loss")[1] for run in arm.runs for part in ("curve", "validation"))


def _look(study: Study, arm: MeasuredArm) -> tuple[str, str]:
    index = colour_index(study, arm.name)
    return COLOURS[index], MARKERS[index]


def _describe_curve(study: Study) -> str:
    parts = [
        f"{arm.short}: " + ", ".join(f"{_percent(m.mean)} at {n:,}" for n, m in study.curve[arm.name].items())
        for arm in study.arms
        if arm.name in study.curve
    ]
    return "Line plot of test accuracy against the number of labels. " + ". ".join(parts) + "."


def _percent(share: float) -> str:
    return f"{share:.1%}" if math.isfinite(share) else "not measured"


def _finite(points: list[dict[str, Any]] | None, x: str, y: str) -> tuple[list[float], list[float]]:
    kept = [(point[x], point[y]) for point in points or [] if point[y] is not None and math.isfinite(point[y])]
    return [pair[0] for pair in kept], [pair[1] for pair in kept]


def _smoothed(values: list[float]) -> list[float]:
    """Exponential moving average without the pull towards zero at the start (Kingma & Ba 2015, section 3)."""
    smooth, past, weight = [], 0.0, 0.0
    for value in values:
        past = SMOOTHING * past + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smooth.append(past / weight)
    return smooth


def _highest_loss(study: Study) -> float:
    """The top of every loss plot, so that the arms compare by eye."""
    losses = [
        loss
        for arm in study.arms
        for run in arm.runs
        for part in ("curve", "validation")
        for loss in _finite(run.get(part), "epoch", "loss")[1]
    ]
    return max(losses, default=1.0)
