"""The structural probes of every layer, for distances and for depths, and what they came to on the test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.probing.metrics import Estimate, Measured, draw_weights, estimates
from minitl.probing.regimen import Regimen, train
from minitl.probing.representations import Representations
from minitl.probing.structural import REGIMEN, Measure, StructuralLearner, Trees, read_trees
from minitl.probing.task import Split, TreeTask
from minitl.probing.tree_metrics import TextScore, attachment, score_depths, score_distances, spearman

RANK = 64
MEASURES: tuple[Measure, ...] = ("distance", "depth")


@dataclass(frozen=True)
class TreeCurve:
    """Tuples have one entry a layer.

    task, layers   which
    scores         "uuas", "distance-spearman", "root-accuracy", "depth-spearman", on the test part
    chain          the same of the tree in which each word hangs on the one before it, which takes no vectors
    loss           by "distance" and "depth", mean validation loss over the seeds
    rounds         by "distance" and "depth", mean best round over the seeds
    examples       how many texts there were, a split
    left_out       how many had no vectors, a split
    """

    task: TreeTask
    layers: tuple[int, ...]
    scores: Mapping[str, tuple[Estimate, ...]]
    chain: Mapping[str, float]
    loss: Mapping[str, tuple[float, ...]]
    rounds: Mapping[str, tuple[float, ...]]
    examples: Mapping[Split, int]
    left_out: Mapping[Split, int]


def sweep_trees(
    representations: Representations,
    task: TreeTask,
    *,
    rank: int = RANK,
    seeds: Sequence[int] = (0, 1, 2),
    regimen: Regimen = REGIMEN,
) -> TreeCurve:
    """Train a distance probe and a depth probe of `rank` on every layer with every seed.

    An epoch of one of them takes 4 · words · layers · seeds · hidden · rank operations, and for distances another
    4 · Σ n² · layers · seeds · rank. The published probes have the rank of the vectors; from 64 on UUAS hardly grows
    (Hewitt & Manning 2019, figure 6). Errors as in `read_trees` and `train`.
    """
    parts, left_out = read_trees(representations, task)
    test, weights = parts["test"], draw_weights(len(parts["test"].lengths))
    scores: dict[str, Measured] = {}
    chain: dict[str, float] = {}
    loss: dict[str, tuple[float, ...]] = {}
    rounds: dict[str, tuple[float, ...]] = {}
    for measure in MEASURES:
        learner = StructuralLearner(measure, rank, tuple(seeds), parts)
        trained = train(learner, regimen)
        loss[measure] = tuple(trained.loss[0].mean(-1).tolist())
        rounds[measure] = tuple(trained.best_round[0].float().mean(-1).tolist())
        said = [learner.said(trained.parameters, "test", torch.tensor([[i]]))[0] for i in range(len(test.lengths))]
        scores |= _measured(measure, [one[0, :, :, 0].flatten(0, 1) for one in said], test, weights)
        chain |= {
            name: float(one.values[0])
            for name, one in _measured(measure, _chain(measure, test), test, weights[:1]).items()
        }
    return TreeCurve(
        task=task,
        layers=representations.layers,
        scores={name: estimates(one, len(seeds)) for name, one in scores.items()},
        chain=chain,
        loss=loss,
        rounds=rounds,
        examples={split: len(part.lengths) for split, part in parts.items()},
        left_out=left_out,
    )


def _measured(measure: Measure, said: Sequence[Tensor], test: Trees, weights: Tensor) -> dict[str, Measured]:
    """What is said of each text, [probes, n, n] or [probes, n], as metrics of probes."""
    scores: list[TextScore] = []
    for i, one in enumerate(said):
        if measure == "distance":
            scores.append(score_distances(one, test.distances[i], test.heads[i], test.scored[i]))
        else:
            scores.append(score_depths(one, test.depths[i], test.scored[i]))
    name = "uuas" if measure == "distance" else "root-accuracy"
    return {name: attachment(scores, weights), f"{measure}-spearman": spearman(scores, weights)}


def _chain(measure: Measure, test: Trees) -> list[Tensor]:
    places = [torch.arange(float(n)) for n in test.lengths]
    return [(p[:, None] - p).abs()[None] if measure == "distance" else p[None] for p in places]
