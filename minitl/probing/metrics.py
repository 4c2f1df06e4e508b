"""How right the answers are, and how sure that is: metrics on the test part, and their bootstrap over texts.

Words of one text are not independent: a confidence interval that draws words is too narrow. So whole texts are drawn,
with their examples. A draw is a weight for each text, and every metric here is a function of weights, so that many
draws are one matrix product. Of answers [probes, examples] each metric is [probes], and its draws [probes, draws].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

DRAWS = 1000
LEVEL = 0.95
AT_A_TIME = 4_000_000  # numbers of a matrix [draws, examples]


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric on the test part: values [probes], draws [probes, draws]."""

    values: Tensor
    draws: Tensor


def draw_weights(texts: int, draws: int = DRAWS, seed: int = 0) -> Tensor:
    """How often each text is drawn when as many are drawn as there are, with replacement: float32 [draws, texts]."""
    chosen = torch.randint(texts, (draws, texts), generator=Generator().manual_seed(seed))
    return torch.zeros(draws, texts).scatter_add_(1, chosen, torch.ones(draws, texts))


def class_metrics(said: Tensor, truth: Tensor, texts: Tensor, classes: int, weights: Tensor) -> dict[str, Measured]:
    """Accuracy, and F1 averaged over the classes that occur in `truth` (macro-F1).

    said [probes, examples], truth [examples], texts [examples]: from 0, which column of `weights` each belongs to
    """
    from sklearn.metrics import accuracy_score, f1_score

    present = truth.unique().tolist()
    accuracy = [accuracy_score(truth, one) for one in said]
    f1 = [f1_score(truth, one, labels=present, average="macro", zero_division=0) for one in said]
    drawn = [_drawn_class_metrics(one, truth, texts, classes, weights, present) for one in said]
    return {
        "accuracy": Measured(torch.tensor(accuracy, dtype=torch.float64), torch.stack([a for a, _ in drawn])),
        "macro-f1": Measured(torch.tensor(f1, dtype=torch.float64), torch.stack([f for _, f in drawn])),
    }


def _drawn_class_metrics(
    said: Tensor, truth: Tensor, texts: Tensor, classes: int, weights: Tensor, present: list[int]
) -> tuple[Tensor, Tensor]:
    """From counts a text and class: of what is right, what was said and what is true."""
    count = weights.shape[1]

    def counted(labels: Tensor, chosen: Tensor) -> Tensor:
        cells = torch.bincount(texts[chosen] * classes + labels[chosen], minlength=count * classes)
        return weights @ cells.view(count, classes).float()  # [draws, classes]

    every = torch.ones_like(truth, dtype=torch.bool)
    right, stated, true = counted(truth, said == truth), counted(said, every), counted(truth, every)
    f1 = (2 * right / (stated + true).clamp(min=1))[:, present].mean(-1)
    return right.sum(-1) / true.sum(-1).clamp(min=1), f1


def score_metrics(said: Tensor, truth: Tensor, texts: Tensor, weights: Tensor) -> dict[str, Measured]:
    """Spearman's and Pearson's correlation of scores; 0 where all that is said is the same. Arguments as above."""
    spearman = Measured(_correlations(said, truth, "spearmanr"), _drawn(said, truth, texts, weights, ranked=True))
    pearson = Measured(_correlations(said, truth, "pearsonr"), _drawn(said, truth, texts, weights, ranked=False))
    return {"spearman": spearman, "pearson": pearson}


def _correlations(said: Tensor, truth: Tensor, name: str) -> Tensor:
    from scipy import stats

    correlation = getattr(stats, name)
    flat = said.double().std(-1, correction=0) <= 1e-12
    values = [0.0 if is_flat else correlation(one, truth).statistic for one, is_flat in zip(said, flat, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def _drawn(said: Tensor, truth: Tensor, texts: Tensor, weights: Tensor, ranked: bool) -> Tensor:
    """The correlation under each draw: [probes, draws]."""
    parts = []
    for some in weights.split(max(1, AT_A_TIME // max(1, len(truth)))):
        drawn = some[:, texts].double()  # [draws, examples]
        wanted = _ranks(truth, drawn) if ranked else truth.double()
        parts.append(
            torch.stack(
                [_weighted_correlation(_ranks(x, drawn) if ranked else x.double(), wanted, drawn) for x in said]
            )
        )
    return torch.cat(parts, dim=-1)


def _ranks(x: Tensor, weights: Tensor) -> Tensor:
    """The mean rank of each value among values that occur `weights` [draws, examples] times each: [draws, examples]."""
    _, group = x.unique(return_inverse=True)  # in rising order
    sizes = torch.zeros(len(weights), int(group.max()) + 1, dtype=weights.dtype)
    sizes.index_add_(1, group, weights)
    return (sizes.cumsum(-1) - (sizes - 1) / 2)[:, group]


def _weighted_correlation(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum(-1, keepdim=True).clamp(min=1)
    x = x - (weights * x).sum(-1, keepdim=True) / total
    y = y - (weights * y).sum(-1, keepdim=True) / total
    spread = ((weights * x * x).sum(-1) * (weights * y * y).sum(-1)).sqrt()
    return torch.where(spread > 1e-12, (weights * x * y).sum(-1) / spread.clamp(min=1e-12), 0.0)


@dataclass(frozen=True)
class Estimate:
    """mean        over the seeds
    deviation   over the seeds (sample standard deviation); nan of one seed
    low, high   bounds of the 95% confidence interval of the mean, by drawing texts of the test part anew
    """

    mean: float
    deviation: float
    low: float
    high: float


def estimates(measured: Measured, seeds: int) -> tuple[Estimate, ...]:
    """One for each layer, of probes [layers · seeds]."""
    values = measured.values.view(-1, seeds).double()
    draws = measured.draws.view(len(values), seeds, -1).double().mean(1)  # [layers, draws]
    bounds = np.quantile(draws.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
    deviation = values.std(-1) if seeds > 1 else torch.full((len(values),), torch.nan)
    rows = zip(values.mean(-1).tolist(), deviation.tolist(), *bounds.tolist(), strict=True)
    return tuple(Estimate(*row) for row in rows)


def difference(left: Measured, right: Measured) -> Measured:
    """Of two metrics under the same draws, so that what they share in a draw cancels."""
    return Measured(left.values - right.values, left.draws - right.draws)


def behind(measured: Measured, seeds: int, best: int) -> tuple[Estimate, ...]:
    """How far each layer, of probes [layers · seeds], is behind layer `best`; below 0 where it is ahead."""
    values, draws = measured.values.view(-1, seeds), measured.draws.view(len(measured.draws) // seeds, seeds, -1)
    return estimates(Measured((values[best] - values).flatten(), (draws[best] - draws).flatten(0, 1)), seeds)


def by_metric(
    said: Tensor, truth: Tensor, texts: Tensor, classes: int | None, weights: Tensor
) -> Mapping[str, Measured]:
    """The metrics of classes or of scores, of answers [probes, examples]; the first is the one that curves show."""
    if classes is None:
        return score_metrics(said, truth, texts, weights)
    return class_metrics(said, truth, texts, classes, weights)
