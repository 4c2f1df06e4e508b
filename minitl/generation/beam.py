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

from minitl.errors import InputError
from minitl.generation.endings import Endings
from minitl.generation.rules import Rules
from minitl.generation.writers import Writer

EarlyStopping = bool | Literal["never"]


@dataclass
class Hypotheses:
    """Texts [batch, beams, capacity], best first, with their scores, and lengths where they are finished."""

    ids: Tensor
    scores: Tensor  # [batch, beams], float32; -inf = not there, or not to be chosen
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
    nothing = ids.new_full((batch, beams), -torch.inf, dtype=torch.float)
    running = Hypotheses(ids, torch.zeros_like(nothing[:, :1]), ids.new_zeros(batch, 1))
    finished = Hypotheses(ids.repeat(1, beams, 1), nothing, ids.new_zeros(batch, beams))
    open_rows = torch.ones(batch, 1, dtype=torch.bool, device=ids.device)  # that may still improve
    considered = max(2, 1 + (0 if endings.ends is None else len(endings.ends))) * beams
    among_best = torch.arange(considered, device=ids.device) < beams
    for length in range(start, capacity):
        written = length - start + 1
        candidates, parent = _continuations(writer, rules, running, length, considered)
        open_rows &= _can_go_on(candidates, finished, written)
        ended = endings.ended(candidates.ids[..., start : length + 1].flatten(0, 1)).view(batch, considered)
        if written == rules.max_new_tokens:
            ended = torch.ones_like(ended)

        full = (finished.lengths > 0).all(-1, keepdim=True)
        taken = ended & among_best & (open_rows & ~full if early_stopping is True else open_rows)
        scores = (candidates.scores / written**length_penalty).masked_fill(~taken, -torch.inf)
        finished = finished.joined(Hypotheses(candidates.ids, scores, taken * (length + 1)))
        finished = finished.choose(finished.scores.topk(beams).indices)

        candidates.scores = candidates.scores.masked_fill(ended, -torch.inf)
        alive = candidates.scores.topk(beams).indices  # [batch, beams]
        running = candidates.choose(alive)
        full = (finished.lengths > 0).all(-1, keepdim=True)
        longest = rules.max_new_tokens if early_stopping == "never" and length_penalty > 0 else written
        best_possible = running.scores[:, :1] / longest**length_penalty
        open_rows &= ~full | (best_possible > finished.scores.amin(1, keepdim=True))
        if ended.all() or not open_rows.any() or (early_stopping is True and full.all()):
            break
        writer.select(parent.take_along_dim(alive, 1).flatten())
    return finished.ids[:, 0, : int(finished.lengths[:, 0].max())]


def _can_go_on(candidates: Hypotheses, finished: Hypotheses, written: int) -> Tensor:
    """Whether any token may follow, bool [batch, 1]; InputError where none may and no text has ended either."""
    possible = candidates.scores[:, :1] > -torch.inf  # not of what is no number either
    if (~possible & (finished.lengths[:, :1] == 0)).any():
        raise InputError(f"after {written - 1} tokens there is none to write: all are hidden by rules, or no numbers")
    return possible


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
