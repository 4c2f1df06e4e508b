"""One text a row, one token at a time: greedy decoding and sampling.

scores ─ rules ─┬─ argmax ──────────────────────────────┬─► next id
                └─ temperature ─ top-k ─ top-p ─ draw ──┘
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.generation.endings import Endings
from minitl.generation.rules import Rules, keep_top_k, keep_top_p
from minitl.generation.writers import Writer


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; None of a field = it shapes nothing. `generator` is this call's own."""

    generator: torch.Generator
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def draw(self, scores: Tensor) -> Tensor:
        """One token a row, at random: scores [batch, vocabulary] -> [batch]."""
        scores = scores / self.temperature
        if self.top_k is not None:
            scores = keep_top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = keep_top_p(scores, self.top_p)
        probabilities = scores.softmax(-1)
        if not probabilities.isfinite().all():
            raise InputError(
                f"no token can be drawn: the scores divided by temperature={self.temperature} are no finite numbers"
            )
        return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0]


def write(writer: Writer, rules: Rules, endings: Endings, sampling: Sampling | None) -> Iterator[Tensor]:
    """After each token, all ids so far, [batch, length]: views of one tensor that grows in place.

    Ends when all rows have ended or `rules.max_new_tokens` are written; behind the end of a row stands the filler.
    """
    start = writer.prompt.shape[1]
    room = writer.prompt.new_full((len(writer.prompt), rules.max_new_tokens), endings.filler)
    ids = torch.cat((writer.prompt, room), dim=1)
    finished = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for end in range(start, ids.shape[1]):
        scores = rules.apply(writer.next_scores(ids[:, :end]), ids[:, :end], writer.real(end), end - start)
        if rules.hides and scores.isneginf().all(-1).any():
            raise InputError(f"after {end - start} tokens the rules leave none to write: {rules}")
        token = scores.argmax(-1) if sampling is None else sampling.draw(scores)
        ids[:, end] = token.masked_fill(finished, endings.filler) if endings.can_end else token
        yield ids[:, : end + 1]
        if endings.can_end:
            finished |= endings.ended(ids[:, start : end + 1])
            if finished.all():
                return
