"""Beam search: several unfinished texts side by side, the likeliest that anyone could write next kept (Graves 2012,
arXiv:1211.3711, section 2.3; with a length penalty, Wu et al. 2016, arXiv:1609.08144, section 7).

    beams × vocabulary ─ the best 2 · beams ─┬─ that end ───► finished: the best `beams`, by score / length ^ penalty
                                             └─ that go on ─► beams

Twice as many as there are beams are looked at, so that enough go on even if every beam could end.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from minitl.generation.endings import Endings
from minitl.generation.rules import Rules
from minitl.generation.writers import Writer

EarlyStopping = bool | Literal["never"]
HOPELESS = -1e9  # the score of what is not to be chosen: below every real one


@dataclass
class Hypotheses:
    """Texts [batch, beams, capacity], best first, with their scores, and lengths where they are finished."""

    ids: Tensor
    scores: Tensor  # [batch, beams], float32
    lengths: Tensor  # [batch, beams]; 0 = not there

    def choose(self, index: Tensor) -> "Hypotheses":
        """Those at `index` [batch, any number]."""
        ids = self.ids.take_along_dim(index[..., None], 1)
        return Hypotheses(ids, self.scores.take_along_dim(index, 1), self.lengths.take_along_dim(index, 1))

    def joined(self, other: "Hypotheses") -> "Hypotheses":
        pairs = ((self.ids, other.ids), (self.scores, other.scores), (self.lengths, other.lengths))
        return Hypotheses(*(torch.cat(pair, dim=1) for pair in pairs))


def beam_search(
    writer: Writer,
    rules: Rules,
    endings: Endings,
    beams: int,
    length_penalty: float,
    early_stopping: EarlyStopping,
) -> Tensor:
    """The best text of each row, prompt included, [batch, length]; behind the end of a text stands the filler.

    length_penalty   the sum of a text's log-probabilities is divided by (tokens written) ^ length_penalty
    early_stopping   True: a row is done when it has as many finished texts as beams. False: when the best beam, were it
                     to end now, would not come among them. "never": when it could not at any length
    """
    batch, start = writer.prompt.shape
    capacity = start + rules.max_new_tokens
    room = writer.prompt.new_full((batch, rules.max_new_tokens), endings.filler)
    ids = torch.cat((writer.prompt, room), dim=1)[:, None]  # [batch, 1, capacity]: at first there is one beam
    running = Hypotheses(ids, ids.new_zeros(batch, 1, dtype=torch.float), ids.new_zeros(batch, 1))
    finished = Hypotheses(
        ids.repeat(1, beams, 1), ids.new_full((batch, beams), HOPELESS, dtype=torch.float), ids.new_zeros(batch, beams)
    )
    open_rows = torch.ones(batch, 1, dtype=torch.bool, device=ids.device)  # that may still improve
    considered = max(2, 1 + (0 if endings.ends is None else len(endings.ends))) * beams
    for length in range(start, capacity):
        written = length - start + 1
        candidates, parent = _continuations(writer, rules, running, length, considered)
        ended = endings.ended(candidates.ids[..., start : length + 1].flatten(0, 1)).view(batch, considered)
        if written == rules.max_new_tokens:
            ended = torch.ones_like(ended)

        full = (finished.lengths > 0).all(-1, keepdim=True)
        barred = ~open_rows | full if early_stopping is True else ~open_rows
        among_best = torch.arange(considered, device=ids.device) < beams
        scores = candidates.scores / written**length_penalty
        scores = scores + HOPELESS * (barred.float() + (~(ended & among_best)).float())
        newly = Hypotheses(candidates.ids, scores, torch.where(ended & among_best, length + 1, 0))
        finished = finished.joined(newly)
        finished = finished.choose(finished.scores.topk(beams).indices)

        alive = (candidates.scores + HOPELESS * ended).topk(beams).indices  # [batch, beams]
        running = candidates.choose(alive)
        running.scores = running.scores + HOPELESS * ended.take_along_dim(alive, 1)
        if ended.all():
            break
        full = (finished.lengths > 0).all(-1, keepdim=True)
        longest = rules.max_new_tokens if early_stopping == "never" and length_penalty > 0 else written
        best_possible = running.scores[:, :1] / longest**length_penalty
        worst = torch.where(finished.lengths > 0, finished.scores.amin(1, keepdim=True), HOPELESS)
        open_rows &= (best_possible > worst).any(-1, keepdim=True)
        if not open_rows.any() or (early_stopping is True and full.all()):
            break
        writer.select(parent.take_along_dim(alive, 1).flatten())
    longest = int(finished.lengths[:, 0].max())
    return finished.ids[:, 0, :longest]


def _continuations(
    writer: Writer, rules: Rules, running: Hypotheses, length: int, considered: int
) -> tuple[Hypotheses, Tensor]:
    """The likeliest `considered` continuations of all beams by one token, and the writer's row that each continues.

    Their ids hold the new token at `length`.
    """
    batch, beams, _ = running.ids.shape
    text = running.ids[..., :length].flatten(0, 1)  # [batch · beams, length]
    log_probs = writer.next_scores(text).log_softmax(-1)  # [batch · beams, vocabulary]
    written = length - writer.prompt.shape[1]
    log_probs = rules.apply(log_probs, text, writer.real(length), written)
    vocabulary = log_probs.shape[-1]
    total = (log_probs.view(batch, beams, vocabulary) + running.scores[..., None]).flatten(1)
    scores, index = total.topk(considered)
    beam, token = index // vocabulary, index % vocabulary
    candidates = running.choose(beam)
    candidates.ids[..., length] = token
    candidates.scores = scores
    return candidates, beam + beams * torch.arange(batch, device=beam.device)[:, None]
