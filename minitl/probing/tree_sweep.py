"""The structural probes of every layer, for distances and for depths, and what they came to on the test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.probing.metrics import Estimate, Measured, behind, draw_weights, estimates
from minitl.probing.regimen import Regimen, train
from minitl.probing.representations import Representations
from minitl.probing.structural import REGIMEN, Measure, StructuralLearner, Trees, read_trees
from minitl.probing.task import Split, TreeTask
from minitl.probing.tree_metrics import TextScore, attachment, score_depths, score_distances, spearman
from minitl.probing.vectors import ROOM, layer_groups

RANK = 64
MEASURES: tuple[Measure, ...] = ("distance", "depth")


@dataclass(frozen=True, eq=False)
class TreeCurve:
    """Tuples have one entry a layer.

    task, layers   which
    scores         "uuas", "distance-spearman", "root-accuracy", "depth-spearman", on the test part
    best           the layer of the least validation loss of distances, of equals the lowest
    measured       UUAS of every probe [layers · seeds] with its draws, to be held against another's
    behind         how far a layer is behind the best in UUAS; below 0 where it is ahead
    chain          the same of the tree in which each word hangs on the one before it, which takes no vectors
    loss           by "distance" and "depth", mean validation loss over the seeds
    rounds         by "distance" and "depth", mean best round over the seeds
    examples       how many texts there were, a split
    left_out       how many had no vectors, a split
    """

    task: TreeTask
    layers: tuple[int, ...]
    scores: Mapping[str, tuple[Estimate, ...]]
    best: int
    measured: Measured
    behind: tuple[Estimate, ...]
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
    room: int = ROOM,
) -> TreeCurve:
    """Train a distance probe and a depth probe of `rank` on every layer with every seed.

    room      bytes of vectors that may be in memory, as in `gather`

    A pass of one of them takes 4 · words · layers · seeds · hidden · rank operations, and for distances another
    4 · Σ n² · layers · seeds · rank. The published probes have the rank of the vectors; the paper finds that a small
    part of it does nearly as well. Errors as in `read_trees` and `train`.
    """
    found = []
    words = sum(len(text) for text in task.corpus.texts)
    for layers in layer_groups(len(representations.layers), words * representations.hidden * 4, room):
        parts, left_out = read_trees(representations, task, layers)
        found.append({measure: _swept(measure, parts, rank, tuple(seeds), regimen) for measure in MEASURES})
    test = parts["test"]
    weights = draw_weights(len(test.lengths))
    scores: dict[str, Measured] = {}
    chain: dict[str, Measured] = {}
    for measure in MEASURES:
        said = [torch.cat(of_text) for of_text in zip(*(group[measure].said for group in found), strict=True)]
        scores |= _measured(measure, said, test, weights)
        chain |= _measured(measure, _chain(measure, test), test, weights[:1])
    loss: dict[str, tuple[float, ...]] = {
        measure: _joined([group[measure].loss for group in found]) for measure in MEASURES
    }
    best = loss["distance"].index(min(loss["distance"]))
    return TreeCurve(
        task=task,
        layers=representations.layers,
        scores={name: estimates(one, len(seeds)) for name, one in scores.items()},
        best=representations.layers[best],
        measured=scores["uuas"],
        behind=behind(scores["uuas"], len(seeds), best),
        chain={name: float(one.values[0]) for name, one in chain.items()},
        loss=loss,
        rounds={measure: _joined([group[measure].rounds for group in found]) for measure in MEASURES},
        examples={split: len(part.lengths) for split, part in parts.items()},
        left_out=left_out,
    )


@dataclass(frozen=True, eq=False)
class _Swept:
    """Of some layers: what is said of each test text, [layers · seeds, n, n] or [layers · seeds, n]; [layers]."""

    said: list[Tensor]
    loss: Tensor
    rounds: Tensor


def _swept(
    measure: Measure, parts: Mapping[Split, Trees], rank: int, seeds: tuple[int, ...], regimen: Regimen
) -> _Swept:
    learner = StructuralLearner(measure, rank, seeds, parts)
    trained = train(learner, regimen)
    texts = torch.arange(len(parts["test"].lengths)).view(-1, 1, 1)
    said = [learner.said(trained.parameters, "test", text)[0][0, :, :, 0].flatten(0, 1) for text in texts]
    return _Swept(said, trained.loss[0].mean(-1), trained.best_round[0].float().mean(-1))


def _joined(groups: Sequence[Tensor]) -> tuple[float, ...]:
    return tuple(torch.cat(list(groups)).tolist())


def _measured(measure: Measure, said: Sequence[Tensor], test: Trees, weights: Tensor) -> dict[str, Measured]:
    """What is said of each text, [probes, n, n] or [probes, n], as metrics of probes."""
    scores: list[TextScore] = []
    for i, one in enumerate(said):
        if measure == "distance":
            scores.append(score_distances(one, test.distances[i], test.scored[i]))
        else:
            scores.append(score_depths(one, test.depths[i], test.scored[i]))
    name = "uuas" if measure == "distance" else "root-accuracy"
    return {name: attachment(scores, weights), f"{measure}-spearman": spearman(scores, weights)}


def _chain(measure: Measure, test: Trees) -> list[Tensor]:
    places = [torch.arange(float(n)) for n in test.lengths]
    return [(p[:, None] - p).abs()[None] if measure == "distance" else p[None] for p in places]
