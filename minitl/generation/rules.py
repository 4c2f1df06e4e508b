"""What may be written next: rules that change the scores of the vocabulary before a token is chosen.

    scores ─ penalise ─ no n-gram twice ─ no early end ─ forced first, forced last ─►

Scores are logits, or log-probabilities in beam search; a rule hides a token by giving it -inf.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of one call.

    ends              the end tokens; None = there are none
    max_new_tokens    how many tokens are written at most
    """

    ends: Tensor | None
    max_new_tokens: int
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None

    @property
    def hides(self) -> bool:
        """Whether a rule may hide tokens, and so perhaps all of them."""
        return self.no_repeat_ngram_size > 0 or self.min_new_tokens > 0

    def apply(self, scores: Tensor, text: Tensor, real: Tensor | None, written: int) -> Tensor:
        """The scores [rows, vocabulary] of the next token, changed.

        text      [rows, length], the ids so far
        real      [rows, length], False where the prompt is padded; None = nowhere
        written   how many tokens of `text` are not the prompt's
        """
        if self.repetition_penalty != 1.0:
            # A padded place stands for the prompt's last token, which is always text.
            seen = text if real is None else text.where(real, text[:, text.shape[1] - written - 1, None])
            scores = penalize_repetition(scores, seen, self.repetition_penalty)
        if self.no_repeat_ngram_size:
            scores = forbid_repeated_ngrams(scores, text, real, self.no_repeat_ngram_size)
        if self.ends is not None and written < self.min_new_tokens:
            scores = scores.index_fill(1, self.ends, -torch.inf)
        if self.forced_bos_token_id is not None and written == 0:
            scores = only(scores, self.forced_bos_token_id)
        if self.forced_eos_token_id is not None and written == self.max_new_tokens - 1:
            scores = only(scores, self.forced_eos_token_id)
        return scores


def penalize_repetition(scores: Tensor, text: Tensor, penalty: float) -> Tensor:
    """Lower the scores [batch, vocabulary] of the tokens in `text` [batch, length], however often they stand there.

    A positive score is divided by `penalty`, a negative one multiplied, so that both fall where it is above 1 (Keskar
    et al. 2019, arXiv:1909.05858, section 4.1).
    """
    own = scores.gather(1, text)
    return scores.scatter(1, text, torch.where(own > 0, own / penalty, own * penalty))


def forbid_repeated_ngrams(scores: Tensor, text: Tensor, real: Tensor | None, size: int) -> Tensor:
    """Hide every token that would end an n-gram of `size` tokens which `text` [batch, length] has already (Paulus et
    al. 2018, arXiv:1705.04304, section 2.5). N-grams with a padded token (`real` is False) do not count."""
    if text.shape[1] < size:
        return scores
    grams = text.unfold(1, size, 1)  # [batch, length - size + 1, size]
    latest = text[:, text.shape[1] - size + 1 :, None].transpose(1, 2)  # [batch, 1, size - 1]
    repeated = (grams[..., :-1] == latest).all(-1)
    if real is not None:
        repeated &= real.unfold(1, size, 1).all(-1)
    # -inf is the lowest there is, so that a token which ends several n-grams is hidden if one of them is repeated.
    hidden = torch.where(repeated, -torch.inf, scores.gather(1, grams[..., -1]))
    return scores.scatter_reduce(1, grams[..., -1], hidden, "amin")


def only(scores: Tensor, token: int) -> Tensor:
    """Hide all but one token; its score becomes 0, the logarithm of certainty."""
    scores = torch.full_like(scores, -torch.inf)
    scores[:, token] = 0.0
    return scores


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Set all but the `k` highest scores of each row to -inf, [..., vocabulary]; ties with the k-th stay too."""
    lowest = scores.topk(min(k, scores.shape[-1])).values[..., -1:]
    return scores.masked_fill(scores < lowest, -torch.inf)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """Set all but the nucleus of each row to -inf, [..., vocabulary].

    The nucleus is the fewest tokens, likeliest first, whose probabilities together reach `p`; at least one.
    """
    ranked, order = scores.sort(dim=-1, descending=True, stable=True)
    mass = ranked.softmax(-1).cumsum(-1)
    outside = mass.roll(1, -1) >= p  # the mass of those before it suffices
    outside[..., 0] = False
    return scores.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), -torch.inf)
