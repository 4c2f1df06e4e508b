"""A report as plain values, for probe.json."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from minitl.pages.claims import Claim
from minitl.probing.description_length import CodeLength
from minitl.probing.guide import Profile, judged_order, judged_rows
from minitl.probing.metrics import Estimate
from minitl.probing.probe import Found, Report
from minitl.probing.profile import floor, profile_of, shown_metric, shown_scores
from minitl.probing.sweep import Curve
from minitl.probing.tree_sweep import TreeCurve

Scores = Mapping[str, Sequence[Estimate]]


def record(report: Report) -> dict[str, Any]:
    """Everything that was measured; what is no number is null."""
    return {
        "model": {"source": report.source, "family": report.family, "layers": report.depth, "hidden": report.hidden},
        "probe": report.probe,
        "seeds": list(report.seeds),
        "seconds": round(report.seconds, 1),
        "tasks": [_task(found) for found in report.found],
        "guide": [_claim(claim) for claim in verdicts(report)],
        "before": None if report.alike is None else {"source": report.before, "cka": list(report.alike)},
    }


def verdicts(report: Report) -> list[Claim]:
    """The guide's rows, and its pattern, beside this model."""
    return _verdicts([profile_of(found) for found in report.found], report.depth)


def judged_anew(results: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it would be with the rules of today: its numbers as they are, the guide judged by them again."""
    claims = _verdicts(recorded_profiles(results), results["model"]["layers"])
    return {**results, "guide": [_claim(claim) for claim in claims]}


def recorded_profiles(results: Mapping[str, Any]) -> list[Profile]:
    """Where in the model each task of a record is solved."""
    return [_recorded_profile(task, len(results["seeds"])) for task in results["tasks"]]


def _verdicts(profiles: Sequence[Profile], depth: int) -> list[Claim]:
    return [*judged_rows(profiles, depth), judged_order(profiles, depth)]


def _recorded_profile(task: Mapping[str, Any], seeds: int) -> Profile:
    """`profile_of` what `_task` made."""
    centre, error, mixture = None, 0.0, task.get("mixture")
    if mixture is not None:
        centre = mixture["centre_of_gravity"]["mean"]
        error = mixture["centre_of_gravity"]["deviation"] / seeds**0.5 if seeds > 1 else math.inf
    scores, behind = (
        tuple(Estimate(**{name: math.nan if value is None else value for name, value in one.items()}) for one in by)
        for by in (task["scores"][task["metric"]], task["behind"])
    )
    return Profile(
        task["title"], task["kind"], tuple(task["layers"]), scores, task["best"], behind, task["without_vectors"],
        centre, error,
    )  # fmt: skip


def _task(found: Found) -> dict[str, Any]:
    curve, task, profile = found.curve, found.task, profile_of(found)
    own: dict[str, Any] = {
        "name": task.name,
        "title": task.title,
        "kind": task.kind,
        "corpus": task.corpus.name,
        "metric": shown_metric(curve),
        "layers": list(curve.layers),
        "scores": _scores(curve.scores),
        "behind": [_plain(asdict(one)) for one in curve.behind],
        "best": profile.best,
        "as_good": list(profile.plateau),
        "without_vectors": floor(curve),
        "embeddings": asdict(shown_scores(curve)[0]) if curve.layers[0] == 0 else None,
        "twin": None if found.twin is None else {"best": found.twin.best, "scores": _scores(found.twin.scores)},
        "examples": dict(curve.examples),
        "left_out": dict(curve.left_out),
        "before": None if found.before is None else _before(found),
        "loss": _loss(curve),
    }
    if isinstance(curve, TreeCurve):
        return own | {"chain": dict(curve.chain)}
    return own | {
        "labels": None if curve.task.labels is None else list(curve.task.labels),
        "notes": list(curve.task.notes),
        "constant": dict(curve.constant),
        "control": None if curve.control is None else _scores(curve.control),
        "selectivity": None if curve.selectivity is None else [asdict(one) for one in curve.selectivity],
        "code": None if found.code is None else _code(found.code),
        "mixture": None if found.mixed is None else _mixture(found.mixed),
    }


def _loss(curve: Curve | TreeCurve) -> Any:
    if isinstance(curve, TreeCurve):
        return {name: list(one) for name, one in curve.loss.items()}
    return list(curve.loss)


def _before(found: Found) -> dict[str, Any]:
    """Of the model before, and what was gained since in the metric that curves show."""
    assert found.before is not None
    assert found.gain is not None
    gain = [_plain(asdict(one)) for one in found.gain]
    return {"scores": _scores(found.before.scores), "loss": _loss(found.before), "gain": gain}


def _scores(scores: Scores) -> dict[str, list[dict[str, float | None]]]:
    return {name: [_plain(asdict(one)) for one in by_layer] for name, by_layer in scores.items()}


def _code(code: CodeLength) -> dict[str, Any]:
    return {
        "bits": _over_seeds(code.bits),
        "control_bits": None if code.control is None else _over_seeds(code.control),
        "uniform_bits": code.uniform,
        "compression": _over_seeds(code.compression),
        "portions": list(code.portions),
    }


def _mixture(curve: Curve) -> dict[str, Any] | None:
    mixture = curve.mixture
    if mixture is None:
        return None
    return {
        "shares": _over_seeds(mixture.shares.T),
        "centre_of_gravity": _over_seeds(mixture.centre_of_gravity(curve.layers)[None])[0],
        "expected_layer": _over_seeds(mixture.expected_layer(curve.layers)[None])[0],
        "scores": _scores(curve.scores),
    }


def _over_seeds(values: Tensor) -> list[dict[str, float | None]]:
    """[rows, seeds] -> of each row the mean and the sample standard deviation."""
    deviation = values.double().std(-1) if values.shape[-1] > 1 else values.new_full(values.shape[:-1], math.nan)
    pairs = zip(values.double().mean(-1).tolist(), deviation.tolist(), strict=True)
    return [_plain({"mean": mean, "deviation": spread}) for mean, spread in pairs]


def _claim(claim: Claim) -> dict[str, str]:
    return {"says": claim.says, "measured": claim.measured, "verdict": claim.verdict.value, "rule": claim.rule}


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
