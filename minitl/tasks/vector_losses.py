"""What makes vectors of texts lie near or far: the losses of sentence embeddings.

Each is called with the vectors [texts, n, dim] of n examples, of which the first text is the anchor u, the second v
belongs to it (or has a score with it), and the third w, where there is one, does not; and with scores [n]. Each returns
the sum over the n examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.errors import InputError


class VectorLoss(Protocol):
    """A loss of vectors; `texts`: how many texts an example may have; `scored`: whether they have a score."""

    @property
    def texts(self) -> tuple[int, ...]: ...

    @property
    def scored(self) -> bool: ...

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class InBatchNegatives:
    """-log softmax over all v and w of the batch of scale · cos(u, ·), at the anchor's own v.

    The others of the batch are the negatives (Henderson et al. 2017, section 4; InfoNCE, van den Oord et al. 2018).
    More of them make it harder: the batch size is part of the loss. A text that is the v of two examples of a batch
    counts as a negative of either: data without duplicates is better.
    """

    scale: float = 20.0
    texts: ClassVar[tuple[int, ...]] = (2, 3)
    scored: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        lengthless = F.normalize(vectors, dim=-1)
        anchors, candidates = lengthless[0], lengthless[1:].flatten(0, 1)  # [n, dim], [n or 2n, dim]
        own = torch.arange(len(anchors), device=vectors.device)
        return F.cross_entropy(self.scale * anchors @ candidates.T, own, reduction="sum")


@dataclass(frozen=True)
class CosineError:
    """(cos(u, v) - score)², for scores from 0 to 1 (Reimers & Gurevych 2019, section 3, regression objective)."""

    texts: ClassVar[tuple[int, ...]] = (2,)
    scored: ClassVar[bool] = True

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor:
        return F.mse_loss(torch.cosine_similarity(vectors[0], vectors[1]), scores, reduction="sum")


@dataclass(frozen=True)
class Triplet:
    """max(0, |u - v| - |u - w| + margin), Euclidean (Reimers & Gurevych 2019, section 3, triplet objective)."""

    margin: float = 5.0
    texts: ClassVar[tuple[int, ...]] = (3,)
    scored: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("margin", self.margin)

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        # vector_norm's gradient is 0 where u and v are the same; that of a square root would not be a number.
        near, far = (torch.linalg.vector_norm(vectors[0] - other, dim=-1) for other in (vectors[1], vectors[2]))
        return F.relu(near - far + self.margin).sum()


@dataclass(frozen=True)
class Contrastive:
    """½ · d² where the score is 1, ½ · max(0, margin - d)² where it is 0, d = 1 - cos(u, v); mixed between.

    Hadsell et al. 2006, equation 4.
    """

    margin: float = 0.5
    texts: ClassVar[tuple[int, ...]] = (2,)
    scored: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive("margin", self.margin)

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor:
        distances = 1 - torch.cosine_similarity(vectors[0], vectors[1])
        return 0.5 * (scores * distances**2 + (1 - scores) * F.relu(self.margin - distances) ** 2).sum()


@dataclass(frozen=True)
class Nested:
    """Matryoshka (Kusupati et al. 2022, equation 1): the loss of the first `dims` numbers of each vector, brought to
    length 1, summed over `dims` with `weights`. The beginning of a vector is then a vector of its own worth."""

    loss: VectorLoss
    dims: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = set(self.dims)
        if not sizes or len(self.weights) != len(self.dims) or len(sizes) < len(self.dims) or min(sizes) < 1:
            raise InputError(f"dims must be sizes, each once, with a weight each: got {self.dims} and {self.weights}")

    @property
    def texts(self) -> tuple[int, ...]:
        return self.loss.texts

    @property
    def scored(self) -> bool:
        return self.loss.scored

    def __call__(self, vectors: Tensor, scores: Tensor) -> Tensor:
        if max(self.dims) > vectors.shape[-1]:
            raise InputError(f"dims {self.dims}: this model's vectors have {vectors.shape[-1]} numbers")
        parts = [
            weight * self.loss(F.normalize(vectors[..., :dim], dim=-1), scores)
            for dim, weight in zip(self.dims, self.weights, strict=True)
        ]
        return torch.stack(parts).sum()


LOSSES: dict[str, type[Any]] = {
    "in-batch": InBatchNegatives,
    "cosine": CosineError,
    "triplet": Triplet,
    "contrastive": Contrastive,
}


def make_loss(
    name: str,
    *,
    scale: float | None = None,
    margin: float | None = None,
    dims: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> VectorLoss:
    """The loss `name` of `LOSSES`; what is None is as usual. InputError: an unknown name, or what the loss has not."""
    if name not in LOSSES:
        raise InputError(f"loss {name!r}: one of {', '.join(LOSSES)}")
    given = {key: value for key, value in (("scale", scale), ("margin", margin)) if value is not None}
    known = [field.name for field in fields(LOSSES[name])]
    for key in given:
        if key not in known:
            raise InputError(f"{key}: the loss {name} has none")
    loss: VectorLoss = LOSSES[name](**given)
    if dims is None:
        if weights is not None:
            raise InputError("weights go with dims")
        return loss
    return Nested(loss, tuple(dims), tuple(weights or [1.0] * len(dims)))


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} must be above 0, got {value}")
