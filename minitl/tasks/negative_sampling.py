"""Tell the neighbours of a token from tokens that were drawn (Mikolov et al. 2013, arXiv:1310.4546, section 2.2).

text        the  old  bank  of  the  river  was  steep
kept         -   old  bank  of   -   river   -   steep      frequent tokens are left out, most of the time
centre                      of
neighbours       old  bank           river       steep      up to `window` away, a smaller number drawn each time
drawn                       k tokens for each of them

For a centre I and a neighbour O the paper's equation 4:

    log σ(v'_O · v_I) + Σ log σ(-v'_w · v_I) over k tokens w drawn from P(w) ∝ count(w)^(3/4)

and its equation 5: a token w, a share f(w) of the text, is left out with the probability 1 - √(t / f(w)).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.skip_gram import ContextHead
from minitl.nn.output import Output
from minitl.tasks.blocks import Block, blocks
from minitl.tasks.likelihood import Counted
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tokenization import Tokenizer

POWER = 0.75  # of the counts, for what is drawn (section 2.2)


class NegativeSampling(Task[Example, Block]):
    """loss = minus equation 4, summed over the pairs of a centre and a neighbour.

    tokenizer    from `load_tokenizer`
    model        whose head holds v' and the counts: of the first text that it meets, which teaches it, for good
    max_length   tokens of a block, before some are left out; no neighbour is in another
    window       the farthest that a neighbour is away, counted in tokens that are kept; each centre draws 1 to that
    negatives    k
    threshold    t: tokens that are a smaller share of the text than that are always kept
    """

    name = "negative-sampling"
    metric = "log_likelihood"
    redraws = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        model: Model,
        max_length: int = 128,
        window: int = 5,
        negatives: int = 5,
        threshold: float = 1e-3,
    ) -> None:
        if not isinstance(model.head, ContextHead):
            raise InputError(f"negative sampling needs a head with vectors of neighbours; this one's is {model.task}")
        self.tokenizer, self.head = tokenizer, model.head
        self.max_length, self.window, self.negatives, self.threshold = max_length, window, negatives, threshold
        self.offsets = torch.tensor([*range(-window, 0), *range(1, window + 1)])

    def check_example(self, example: Example) -> str | None:
        return None if example.text.strip() else "a document without text"

    def is_labelled(self, example: Example) -> bool:  # noqa: ARG002
        return True  # the text itself is what is right

    def encode(self, examples: Sequence[Example]) -> list[Block]:
        items = blocks(self.tokenizer, examples, self.max_length, None, None)
        if not self.head.counts.any():
            ids = np.concatenate([item.row.ids for item in items])
            self.head.counts.copy_(torch.from_numpy(np.bincount(ids, minlength=len(self.head.counts))))
        return items

    def collate(self, items: Sequence[Block]) -> TrainingBatch:
        """ "neighbours" [batch, length, 2 · window]: ids, NO_TARGET where none is; "drawn" [batch, length, 2 · window,
        negatives]: for each neighbour other ids. What the model reads are the tokens that were kept."""
        inputs = self._kept(self.tokenizer.pad([item.row for item in items]))
        ids, length = inputs["input_ids"], inputs["attention_mask"].sum(1)[:, None, None]
        place = torch.arange(ids.shape[1])[:, None]
        near = place + self.offsets  # [length, 2 · window]
        reach = torch.randint(1, self.window + 1, (*ids.shape, 1))
        there = (near >= 0) & (near < length) & (place < length) & (self.offsets.abs() <= reach)
        neighbours = ids[:, near.clamp(0, ids.shape[1] - 1)].masked_fill(~there, NO_TARGET)
        drawn = torch.full((*neighbours.shape, self.negatives), NO_TARGET)
        if there.any():
            chances = self.head.counts.cpu() ** POWER
            some = torch.multinomial(chances, int(there.sum()) * self.negatives, replacement=True)
            drawn[there] = some.view(-1, self.negatives)
        return TrainingBatch(inputs, {"neighbours": neighbours, "drawn": drawn})

    def _kept(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows without what equation 5 leaves out, padded on the right."""
        ids, counts = inputs["input_ids"], self.head.counts.cpu()
        share = counts[ids] / counts.sum()
        kept = (torch.rand(ids.shape) < (self.threshold / share).sqrt()) & inputs["attention_mask"].bool()
        width = max(1, int(kept.sum(1).max()))
        order = (~kept).long().argsort(dim=1, stable=True)[:, :width]
        return {"input_ids": ids.gather(1, order), "attention_mask": kept.gather(1, order).long()}

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        losses = self._losses(output, targets)
        return losses.sum(), len(losses)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Counted]:
        """The loss of each item, and the number of its pairs."""
        there = batch.targets["neighbours"] != NO_TARGET
        losses = self._losses(output, batch.targets)
        sums = losses.new_zeros(len(there)).index_add_(0, there.nonzero()[:, 0], losses)
        return list(zip(sums.tolist(), there.sum((1, 2)).tolist(), strict=True))

    def _losses(self, output: Output, targets: Mapping[str, Tensor]) -> Tensor:
        """Of each pair: [pairs]. What was drawn and is the neighbour itself says nothing, as in the published code."""
        there = targets["neighbours"] != NO_TARGET
        row, place, _ = there.nonzero(as_tuple=True)
        centres = output.last_hidden_state[row, place]  # [pairs, hidden]
        neighbours, drawn = targets["neighbours"][there][:, None], targets["drawn"][there]
        scores = self.head.scores(centres, torch.cat((neighbours, drawn), dim=1)).float()  # [pairs, 1 + negatives]
        others = F.logsigmoid(-scores[:, 1:]).masked_fill(drawn == neighbours, 0.0)
        return -F.logsigmoid(scores[:, 0]) - others.sum(1)

    def score(self, predictions: Sequence[Counted], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """log_likelihood: equation 4, the mean over pairs, in nats."""
        total, count = sum(loss for loss, _ in predictions), sum(number for _, number in predictions)
        return {"log_likelihood": -total / max(1, count)}

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "window", "negatives", "threshold")
        return {"task": self.name, **{name: getattr(self, name) for name in names}}
