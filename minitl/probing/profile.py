"""What of a task's result is shown first, the same for labels, scores and trees."""

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


def shown_loss(curve: Curve | TreeCurve) -> tuple[float, ...]:
    """The loss of the probes that this metric is of, layer by layer."""
    return curve.loss["distance"] if isinstance(curve, TreeCurve) else curve.loss


def floor(curve: Curve | TreeCurve) -> float:
    """What it comes to without looking at a vector: the commonest class, or for trees a chain."""
    without = curve.chain if isinstance(curve, TreeCurve) else curve.constant
    return without[shown_metric(curve)]


def profile_of(found: Found) -> Profile:
    """The same for the guide's table."""
    curve, centre = found.curve, None
    if found.mixed is not None and found.mixed.mixture is not None:
        centre = float(found.mixed.mixture.centre_of_gravity(found.mixed.layers).mean())
    title, kind = found.task.title, found.task.kind
    return Profile(title, kind, curve.layers, shown_scores(curve), curve.behind, floor(curve), centre)
