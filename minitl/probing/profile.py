"""What of a task's result is shown first, the same for labels, scores and trees."""

import math

from minitl.probing.guide import Profile
from minitl.probing.metrics import Estimate
from minitl.probing.probe import Found
from minitl.probing.sweep import Curve
from minitl.probing.tree_sweep import TreeCurve


def shown_metric(curve: Curve | TreeCurve) -> str:
    """The name of the metric that curves show: "accuracy", "spearman", of trees "uuas"."""
    return "uuas" if isinstance(curve, TreeCurve) else curve.metric


def shown_scores(curve: Curve | TreeCurve) -> tuple[Estimate, ...]:
    """That metric, layer by layer."""
    return curve.scores[shown_metric(curve)]


def best_score(curve: Curve | TreeCurve) -> Estimate:
    """That metric in the layer which validation chose."""
    return shown_scores(curve)[curve.layers.index(curve.best)]


def shown_loss(curve: Curve | TreeCurve) -> tuple[float, ...]:
    """The loss of the probes that this metric is of, layer by layer."""
    return curve.loss["distance"] if isinstance(curve, TreeCurve) else curve.loss


def floor(curve: Curve | TreeCurve) -> float:
    """What it comes to without looking at a vector: the commonest class, or for trees a chain."""
    without = curve.chain if isinstance(curve, TreeCurve) else curve.constant
    return without[shown_metric(curve)]


def by_heart(curve: Curve | TreeCurve) -> bool:
    """Whether in the best layer made-up labels of the words are learnt as well as the task's own."""
    if not isinstance(curve, Curve) or curve.selectivity is None:
        return False
    return curve.selectivity[curve.layers.index(curve.best)].low <= 0


def profile_of(found: Found) -> Profile:
    """The same for the guide's table."""
    curve, centre, error = found.curve, None, 0.0
    if found.mixed is not None and found.mixed.mixture is not None:
        centres = found.mixed.mixture.centre_of_gravity(found.mixed.layers)
        centre = float(centres.mean())
        error = float(centres.std()) / len(centres) ** 0.5 if len(centres) > 1 else math.inf
    return Profile(
        found.task.title, found.task.kind, curve.layers, shown_scores(curve), curve.best, curve.behind, floor(curve),
        centre, error,
    )  # fmt: skip


def signed_interval(one: Estimate) -> str:
    """Of a change, in points: "-0.3 to +1.2"."""
    return f"{one.low * 100:+.1f} to {one.high * 100:+.1f}"
