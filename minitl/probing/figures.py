"""The report's plots, as `minitl.pages.drawing` makes them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minitl.pages.drawing import COLOURS, INK, MARKERS, MUTED, PAPER, new_figure
from minitl.probing.guide import KINDS, Profile
from minitl.probing.metrics import Estimate
from minitl.probing.probe import Found, Report
from minitl.probing.profile import floor, profile_of, shown_metric, shown_scores
from minitl.probing.sweep import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, TWIN, CONTROL, BEFORE = COLOURS[1], COLOURS[0], COLOURS[3], COLOURS[4]
METRICS = {"accuracy": "accuracy, %", "spearman": "Spearman's ρ, %", "uuas": "UUAS, %", "macro-f1": "macro-F1, %"}
COLUMNS = 3  # of panels in a picture


def draw_curves(report: Report) -> "Figure":
    """A panel for each task, all in one picture."""
    from matplotlib.figure import Figure

    rows = -(-len(report.found) // COLUMNS)
    figure = Figure(figsize=(4.0 * COLUMNS, 2.7 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axes, found in zip(panels, report.found, strict=False):
        _curve(axes, found)
        axes.set_title(found.task.title, color=INK, fontsize=11, loc="left", fontweight="bold")
    for axes in panels[len(report.found) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines() if line.get_label()[0] != "_"}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines), frameon=False)
    return figure


def draw_curve(found: Found) -> "Figure":
    """One task's panel."""
    figure, axes = new_figure(True, wide=(0, 0), small=(3.9, 2.6))
    _curve(axes, found)
    return figure


def draw_heat(profiles: Sequence[Profile], narrow: bool = False) -> "Figure":
    """Tasks by layers: each score, and as a shade how far it is from the answer without vectors to the task's best."""
    layers, height = profiles[0].layers, 0.9 + 0.42 * len(profiles)
    figure, axes = new_figure(narrow, wide=(2.6 + 0.75 * len(layers), height), small=(1.6 + 0.5 * len(layers), height))
    for row, profile in enumerate(profiles):
        for column, (layer, one) in enumerate(zip(profile.layers, profile.scores, strict=True)):
            share = shade(profile, one)
            axes.barh(row, 0.94, left=column - 0.47, height=0.86, color=MODEL, alpha=0.08 + 0.62 * share)
            weight = "bold" if layer == profile.best else "normal"
            axes.text(column, row, f"{one.mean * 100:.1f}", ha="center", va="center", fontweight=weight, fontsize=10)
    axes.set_xticks(range(len(layers)), [_layer_name(layer) for layer in layers])
    axes.set_yticks(range(len(profiles)), [profile.title for profile in profiles])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.xaxis.tick_top()
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylim(len(profiles) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return figure


def draw_gravity(report: Report, narrow: bool = False) -> "Figure":
    """Each task's centre of gravity over the layers, and the deviation over seeds."""
    found = [one for one in report.found if one.mixed is not None and one.mixed.mixture is not None]
    found.sort(key=lambda one: (KINDS.index(one.task.kind), profile_of(one).centre or 0.0))
    size = 0.8 + 0.36 * len(found)
    figure, axes = new_figure(narrow, wide=(8.4, size), small=(3.9, size))
    for row, one in enumerate(found):
        assert one.mixed is not None
        assert one.mixed.mixture is not None
        kind = KINDS.index(one.task.kind)
        centres = one.mixed.mixture.centre_of_gravity(one.mixed.layers)
        spread = float(centres.std()) if len(centres) > 1 else 0.0
        axes.errorbar(
            float(centres.mean()), row, xerr=spread, elinewidth=2, color=COLOURS[kind + 1], marker=MARKERS[kind + 1],
            markersize=8, markeredgecolor=PAPER,
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [one.task.title for one in found])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, report.depth)
    axes.set_xticks(range(report.depth + 1), [_layer_name(layer) for layer in range(report.depth + 1)])
    axes.set_xlabel("centre of gravity, in layers")
    return figure


def describe_curve(found: Found) -> str:
    """A panel for who does not see it."""
    scores = zip(found.curve.layers, shown_scores(found.curve), strict=True)
    told = ", ".join(f"{_layer_name(layer)} {one.mean * 100:.1f}" for layer, one in scores)
    return f"{found.task.title}, {METRICS[shown_metric(found.curve)]} by layer: {told}."


def describe_gravity(report: Report) -> str:
    centres = [profile for one in report.found if (profile := profile_of(one)).centre is not None]
    return "Centres of gravity: " + ", ".join(f"{one.title} {one.centre:.1f}" for one in centres) + "."


def shade(profile: Profile, score: Estimate) -> float:
    """How far a score is, 0 to 1, on the way from what takes no vectors to the best layer."""
    low, high = profile.floor, max(one.mean for one in profile.scores)
    return min(1.0, max(0.0, (score.mean - low) / (high - low))) if high > low else 0.0


def _curve(axes: "Axes", found: Found) -> None:
    curve = found.curve
    scores = shown_scores(curve)
    low, high = [[100 * getattr(one, bound) for one in scores] for bound in ("low", "high")]
    axes.fill_between(curve.layers, low, high, color=MODEL, alpha=0.18, linewidth=0)
    _line(axes, curve.layers, scores, MODEL, MARKERS[4], "-", "the model")
    if found.before is not None:
        _line(axes, curve.layers, shown_scores(found.before), BEFORE, MARKERS[3], "-", "before fine-tuning")
    if found.twin is not None:
        _line(axes, curve.layers, shown_scores(found.twin), TWIN, MARKERS[1], "--", "its random twin")
    if isinstance(curve, Curve) and curve.control is not None:
        _line(axes, curve.layers, curve.control[curve.metric], CONTROL, MARKERS[2], ":", "control task")
    axes.axhline(100 * floor(curve), color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="without vectors")
    some = _some(curve.layers)
    axes.set_xticks(some, [_layer_name(layer) for layer in some])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(METRICS[shown_metric(curve)])
    axes.set_xlabel("layer")


def _line(
    axes: "Axes", layers: Sequence[int], scores: Sequence[Estimate], colour: str, marker: str, dashes: str, label: str
) -> None:
    means = [100 * one.mean for one in scores]
    axes.plot(
        layers, means, linestyle=dashes, marker=marker, color=colour, linewidth=1.8, markersize=5,
        markeredgecolor=PAPER, markeredgewidth=0.8, label=label,
    )  # fmt: skip


def _some(layers: Sequence[int]) -> list[int]:
    """At most a dozen of the layers, so that their names do not touch."""
    step = -(-len(layers) // 12)
    return list(layers[::step])


def _layer_name(layer: int) -> str:
    return "emb" if layer == 0 else str(layer)
