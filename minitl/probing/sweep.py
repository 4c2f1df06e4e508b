"""One task in every layer: all probes trained at once, and what they came to on the test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.probing.checks import texts_of
from minitl.probing.controls import constant_answer, has_control, targets
from minitl.probing.labelled import LabelledLearner
from minitl.probing.material import Material
from minitl.probing.metrics import Estimate, Measured, behind, by_metric, difference, draw_weights, estimates
from minitl.probing.mixing import Mixed, Mixture
from minitl.probing.probes import Linear, Probe
from minitl.probing.regimen import Regimen, Trained, train
from minitl.probing.task import Examples, Split, Task

LINEAR, REGIMEN = Linear(), Regimen()


@dataclass(frozen=True, eq=False)
class Curve:
    """What probes of one task came to; tuples have one entry a layer.

    task, layers   which
    metric         the one that curves show: "accuracy", or "spearman" of scores
    scores         by metric, on the test part
    best           the layer of the least validation loss, of equals the lowest: the test part chooses nothing
    measured       that metric of every probe [layers · seeds] with its draws, to be held against another's
    behind         how far a layer is behind the best, in the metric that curves show; below 0 where it is ahead
    constant       by metric, what the commonest class or the mean score comes to
    control        by metric, the same probes on the control task; None where there is none
    selectivity    scores less control, of the metric that curves show; None without control
    loss           mean test loss over the seeds: nats of classes, squared error of standardised scores
    rounds         mean best round of training over the seeds
    examples       how many there were, a split
    left_out       how many had no vectors, a split
    mixture        of a mixed probe, its weights; a row of `scores` is then the mix up to that layer
    """

    task: Task
    layers: tuple[int, ...]
    metric: str
    scores: Mapping[str, tuple[Estimate, ...]]
    best: int
    measured: Measured
    behind: tuple[Estimate, ...]
    constant: Mapping[str, float]
    control: Mapping[str, tuple[Estimate, ...]] | None
    selectivity: tuple[Estimate, ...] | None
    loss: tuple[float, ...]
    rounds: tuple[float, ...]
    examples: Mapping[Split, int]
    left_out: Mapping[Split, int]
    mixture: Mixture | None = None


def sweep(
    material: Material,
    probe: Probe = LINEAR,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    regimen: Regimen = REGIMEN,
    control: bool = True,
) -> Curve:
    """Train `probe` on every layer with every seed, and on a control task beside it.

    material  of the task, gathered as `probe` reads. Where not all layers fit into memory, they are taken in groups,
              and the result is the same; mixes, which need all layers at once, have fewer examples
    control   whether to ask the control task too, where the examples have kinds; it is the same pass over the data

    Cost of a linear probe: a pass reads n · layers · size floats once a seed, and takes 4 · n · layers · size ·
    classes · seeds · questions operations, forward and backward. Errors as in `train`.
    """
    seeds, mixes = tuple(seeds), isinstance(probe, Mixed)
    material = material.with_all_layers() if mixes else material
    task, splits = material.task, material.splits
    wanted = targets(splits, seeds, control and has_control(splits))
    classes = None if task.labels is None else len(task.labels)
    said, losses, held_out, rounds, mixed = [], [], [], [], None
    for vectors in [material.whole] if mixes else material.groups():
        learner = LabelledLearner(probe, seeds, vectors, _standardized(wanted, classes), classes)
        trained = train(learner, regimen)
        answers, loss = learner.answers(trained.parameters, "test", regimen.batch_size)
        said.append(answers)
        losses.append(loss[0].mean((1, 2)))
        held_out.append(trained.loss[0].mean(-1))
        rounds.append(trained.best_round[0].float().mean(-1))
        mixed = trained
    scores, control_scores = _measured(torch.cat(said, dim=1), wanted["test"], task, splits["test"], classes)
    first = next(iter(scores))
    best, rows = int(torch.cat(held_out).argmin()), len(torch.cat(losses))
    layers = material.layers[-rows:]
    return Curve(
        task=task,
        layers=layers,
        metric=first,
        scores=_estimated(scores, len(seeds)),
        best=layers[best],
        measured=scores[first],
        behind=behind(scores[first], len(seeds), best),
        constant=_constant(task, splits, classes),
        control=None if control_scores is None else _estimated(control_scores, len(seeds)),
        selectivity=None
        if control_scores is None
        else estimates(difference(scores[first], control_scores[first]), len(seeds)),
        loss=tuple(torch.cat(losses).tolist()),
        rounds=tuple(torch.cat(rounds).tolist()),
        examples={split: len(part) for split, part in splits.items()},
        left_out=material.left_out,
        mixture=_mixture(probe, mixed, scores[first], len(seeds)),
    )


def _standardized(wanted: Mapping[Split, Tensor], classes: int | None) -> Mapping[Split, Tensor]:
    """Scores with mean 0 and deviation 1 on the training part, so that one learning rate fits every task."""
    if classes is not None:
        return wanted
    deviation, mean = torch.std_mean(wanted["train"], -1, correction=0, keepdim=True)
    return {split: (scores - mean) / deviation.clamp(min=1e-12) for split, scores in wanted.items()}


def _measured(
    said: Tensor, wanted: Tensor, task: Task, test: Examples, classes: int | None
) -> tuple[Mapping[str, Measured], Mapping[str, Measured] | None]:
    """The metrics [layers · seeds] of the task's own labels, and of its control task's under the same draws.

    said [questions, layers, seeds, examples], wanted [questions, seeds, examples]
    """
    _, texts = texts_of(task, test.spans)[:, 0].unique(return_inverse=True)
    weights = draw_weights(int(texts.max()) + 1)
    own = by_metric(said[0].flatten(0, 1), wanted[0, 0], texts, classes, weights)
    if len(said) == 1:
        return own, None
    # Each seed has labels of its own.
    seeds = [by_metric(said[1, :, s], wanted[1, s], texts, classes, weights) for s in range(said.shape[2])]
    values = {name: torch.stack([one[name].values for one in seeds], dim=1).flatten() for name in own}
    draws = {name: torch.stack([one[name].draws for one in seeds], dim=1).flatten(0, 1) for name in own}
    return own, {name: Measured(values[name], draws[name]) for name in own}


def _estimated(measured: Mapping[str, Measured], seeds: int) -> dict[str, tuple[Estimate, ...]]:
    return {name: estimates(one, seeds) for name, one in measured.items()}


def _constant(task: Task, splits: Mapping[Split, Examples], classes: int | None) -> dict[str, float]:
    test = splits["test"]
    said = constant_answer(splits["train"].labels, classes is not None, len(test))[None]
    _, texts = texts_of(task, test.spans)[:, 0].unique(return_inverse=True)
    measured = by_metric(said, test.labels, texts, classes, draw_weights(int(texts.max()) + 1, draws=1))
    return {name: float(one.values[0]) for name, one in measured.items()}


def _mixture(probe: Probe, trained: Trained | None, measured: Measured, seeds: int) -> Mixture | None:
    if not isinstance(probe, Mixed) or trained is None:
        return None
    return Mixture(probe.shares(trained.parameters)[0, -1], measured.values.view(-1, seeds).T)
