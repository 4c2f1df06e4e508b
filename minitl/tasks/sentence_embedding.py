"""Bring vectors of texts near where their meanings are (Reimers & Gurevych 2019, arXiv:1908.10084).

examples   (u₁ v₁) (u₂ v₂) (u₃ v₃)            two or three texts each
rows        u₁ u₂ u₃ v₁ v₂ v₃                 one model reads all of them: a siamese network, in one batch
            │  model, pooling
vectors    [2 · 3, dim] ─► [2, 3, dim] ─► loss (`vector_losses`)

A batch holds examples of similar length, as everywhere in `fit`: in-batch negatives are therefore texts about as long
as the right one, and the batch's size is how many there are, on one process or many. In an evaluation the batches are
other ones, hence a loss of in-batch negatives compares between evaluations, not with that of the training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Related
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.models.sentence import SentenceEncoder, new_sentence_encoder, sentence_files
from minitl.nn.output import Output
from minitl.nn.pooling import POOLINGS, Pooling
from minitl.tasks.task import Task, TrainingBatch
from minitl.tasks.vector_losses import VectorLoss
from minitl.tokenization import Row, Tokenizer

CHUNK = 1024  # anchors that are compared with all candidates at a time
TIE = 1e-6  # cosines this near are alike: the same text has other last bits in another batch


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """The tokenised texts of an example, and its score."""

    rows: tuple[Row, ...]
    score: float | None

    @property
    def length(self) -> int:
        return max(row.length for row in self.rows)


class SentenceEmbedding(Task[Related, TextRows]):
    """loss: what `VectorLoss` makes of the batch's vectors, summed over its examples.

    tokenizer    from `load_tokenizer`
    objective    the loss, from `make_loss`
    max_length   tokens after which a text is cut, special tokens included
    pooling      from token vectors to a text's: "mean", "cls", "max", … of `minitl.nn.pooling`
    normalize    whether vectors are brought to length 1, for those who compare by dot product
    """

    name = "backbone"

    def __init__(
        self,
        tokenizer: Tokenizer,
        objective: VectorLoss,
        max_length: int = 128,
        pooling: str = "mean",
        normalize: bool = False,
    ) -> None:
        known = [name for name, _, _ in POOLINGS]
        if pooling not in known:
            raise InputError(f"pooling {pooling!r}: one of {', '.join(known)}")
        self.tokenizer, self.objective, self.max_length = tokenizer, objective, max_length
        self.pooling, self.normalize = pooling, normalize
        self._pool = Pooling([pooling])
        self.metric = "spearman" if objective.scored else "mrr"

    def check_example(self, example: Related) -> str | None:
        if len(example.texts) not in self.objective.texts:
            wanted = " or ".join(str(n) for n in self.objective.texts)
            return f"{len(example.texts)} texts, where this loss reads {wanted}"
        if self.objective.scored and not (example.score is not None and 0 <= example.score <= 1):
            return f"the score {example.score!r} is no number from 0 to 1"
        if not self.objective.scored and example.score is not None:
            return f"a score, {example.score:g}, where all pairs are taken to belong together: choose them by `least`"
        return None

    def check(self, examples: Sequence[Related], where: str) -> None:
        super().check(examples, where)
        if len({len(example.texts) for example in examples}) > 1:
            raise DataError(f"the {where} split holds pairs and triplets: expected one kind")

    def is_labelled(self, example: Related) -> bool:
        return example.score is not None or not self.objective.scored

    def encode(self, examples: Sequence[Related]) -> list[TextRows]:
        rows = iter(self.tokenizer.rows([text for e in examples for text in e.texts], max_length=self.max_length))
        return [TextRows(tuple(next(rows) for _ in e.texts), e.score) for e in examples]

    def collate(self, items: Sequence[TextRows]) -> TrainingBatch:
        """ "scores": float32 [n], NaN without one; "mask" [texts · n, length]: the real tokens, for pooling."""
        texts = len(items[0].rows)
        inputs = self.tokenizer.pad([item.rows[place] for place in range(texts) for item in items])
        scores = [float("nan") if item.score is None else item.score for item in items]
        return TrainingBatch(inputs, {"scores": torch.tensor(scores), "mask": inputs["attention_mask"]})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        return self.loss_of_share(output, targets, lambda mine: mine)

    def loss_of_share(
        self, output: Output, targets: Mapping[str, Tensor], together: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        """Each process takes the loss of the whole batch, whose vectors are few numbers beside the gradients, and
        learns from it by its own texts; in the sum over the processes, no text is missing as anchor or as negative."""
        mine = targets["scores"]  # [share]
        # Under autocast the products of the cosines would be rounded to 8 bits, and then multiplied by the scale.
        with torch.autocast(mine.device.type, enabled=False):
            vectors = together(self._vectors(output, targets).transpose(0, 1)).transpose(0, 1)  # [texts, n, dim]
            scores = together(mine)  # [n]
            whole = self.objective(vectors, scores)
        # Of the whole loss's value, a part for each process; of its gradient, all.
        elsewhere = 1 - len(mine) / len(scores)
        return whole - elsewhere * whole.detach(), len(mine)

    def _vectors(self, output: Output, targets: Mapping[str, Tensor]) -> Tensor:
        """[texts, n, dim], float32."""
        pooled = self._pool(output.last_hidden_state.float(), targets["mask"])  # [texts · n, dim]
        if self.normalize:
            pooled = F.normalize(pooled, dim=-1)
        return pooled.unflatten(0, (-1, len(targets["scores"])))

    def answers(self, output: Output, batch: TrainingBatch) -> Tensor:
        """The vectors of each item's texts, [n, texts, dim], float32."""
        with torch.autocast(output.last_hidden_state.device.type, enabled=False):
            return self._vectors(output, batch.targets).transpose(0, 1)

    def score(self, predictions: Sequence[Tensor], examples: Sequence[Related]) -> dict[str, float]:
        """Of pairs with scores: Spearman's correlation with their cosines, -1 to 1; 0 where either is constant.

        Of others: how well each anchor finds its own among all v and w of the split, by cosine: accuracy, the share of
        anchors whose own is the nearest, and mrr, the mean of 1 / its rank; of triplets also the share whose v is
        nearer than their w. A text that is there twice does not stand in its own way: only nearer ones count.
        """
        vectors = F.normalize(torch.stack(list(predictions)), dim=-1)  # [n, texts, dim]
        near = (vectors[:, 0] * vectors[:, 1]).sum(-1)
        scores = [example.score for example in examples if example.score is not None]
        if len(scores) == len(examples):
            return {"spearman": _spearman(near.tolist(), scores)}
        ranks = _ranks(vectors)
        found = {"accuracy": float((ranks == 1).float().mean()), "mrr": float((1 / ranks).mean())}
        if vectors.shape[1] > 2:
            far = (vectors[:, 0] * vectors[:, 2]).sum(-1)
            found["triplet_accuracy"] = float((near > far).float().mean())
        return found

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "pooling", "normalize")
        return {
            "task": "sentence-embedding",
            "loss": repr(self.objective),
            **{name: getattr(self, name) for name in names},
        }

    def encoder(self, model: Model) -> SentenceEncoder:
        """The trained model with its pooling, for use."""
        return new_sentence_encoder(model, self.tokenizer, self.pooling, self.normalize, self.max_length)

    def beside(self, model: Model) -> dict[str, Any]:
        """modules.json and what it names, from which others know the pooling: see `load_sentence_encoder`."""
        return sentence_files(self.encoder(model))


def _spearman(cosines: Sequence[float], scores: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    if len(set(cosines)) < 2 or len(set(scores)) < 2:
        return 0.0
    return float(spearmanr(cosines, scores).statistic)


def _ranks(vectors: Tensor) -> Tensor:
    """The place, from 1, of each anchor's own v among all candidates; vectors [n, texts, dim] of length 1."""
    anchors, candidates = vectors[:, 0], vectors[:, 1:].transpose(0, 1).flatten(0, 1)  # v of all, then w of all
    ranks = []
    for start in range(0, len(anchors), CHUNK):
        cosines = anchors[start : start + CHUNK] @ candidates.T
        own = cosines.diagonal(start)
        ranks.append(1 + (cosines > own[:, None] + TIE).sum(-1))
    return torch.cat(ranks)
