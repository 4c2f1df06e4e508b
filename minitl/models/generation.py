"""Text generation: a causal model reads the prompt once, then writes one token at a time.

    ids ─ encode ─► last position ─ head ─► scores ─ penalise ─┬─ argmax ──────────────────────────────┬─► next id
            ▲                                                  └─ temperature ─ top-k ─ top-p ─ draw ──┘
            └─ keys and values of all earlier tokens, from the cache

Only the last position goes through the head: the scores of the others would be thrown away.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from minitl_kernels import packed_linears
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.embeddings import as_ids
from minitl.nn.output import Output

WORTH_PACKING = 32  # tokens: packing the weights takes as long as ten to twenty packed products save


def generate(
    model: Model,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int = 128,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
) -> Tensor:
    """Continue prompts with a model that carries a "causal-lm" head.

    input_ids            [batch, prompt]; shorter prompts of a batch are padded on the left
    attention_mask       [batch, prompt], 1 = text, 0 = padding; None = all text
    max_new_tokens       at most so many tokens are written, fewer where every row has ended
    do_sample            False: the likeliest token each time. True: a draw, shaped by the next three
    temperature          scores are divided by it: below 1 sharpens, above 1 flattens
    top_k                draw from the k likeliest tokens only (Fan et al. 2018, section 5.2)
    top_p                draw from the fewest likeliest tokens that together reach this probability (Holtzman et al.
                         2020, section 3.1)
    repetition_penalty   factor by which tokens of the text so far lose score (Keskar et al. 2019, section 4.1)
    seed                 of the draws; None = drawn from torch's generator, so that `torch.manual_seed` governs it

    A row ends with config.eos_token_id (one or several); what follows is filled with config.pad_token_id, or the end
    token where there is none or the model has no row for it. Dropout is as the model's mode says: `load_model` gives
    eval mode. On the CPU, where many tokens are asked for, the weights (up to 2 GiB of them) are meanwhile in memory
    twice, the second time in the order in which they are read.

    Returns int64 [batch, prompt + new], the prompt included. InputError, before any work: a model without that head,
    an empty prompt, padding that does not stand on the left, an argument out of range, or a text that could grow
    beyond the model's table of positions.
    """
    _check_arguments(model, max_new_tokens, temperature, top_k, top_p, repetition_penalty)
    prompt = as_ids(input_ids).long()
    mask = _grown_mask(prompt, attention_mask, max_new_tokens)
    _check_length(model, prompt, mask, max_new_tokens)
    draws = _generator(seed, prompt.device) if do_sample else None

    def choose(scores: Tensor, text: Tensor) -> Tensor:  # [batch, vocabulary], [batch, length] -> [batch]
        if repetition_penalty != 1.0:
            scores = penalize_repetition(scores, text, repetition_penalty)
        return scores.argmax(-1) if draws is None else _draw(scores, temperature, top_k, top_p, draws)

    packing = packed_linears(model, len(prompt)) if max_new_tokens >= WORTH_PACKING else nullcontext()
    with torch.inference_mode(), packing:
        ids = _continue(model, prompt, mask, max_new_tokens, choose)
    return ids.clone()  # an ordinary tensor, which may be trained on


def _continue(
    model: Model, prompt: Tensor, mask: Tensor | None, max_new_tokens: int, choose: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The loop: `choose` makes the next token of each row from its scores and the text so far."""
    ends, filler = _end_tokens(model, prompt.device)
    batch, start = prompt.shape
    ids = torch.cat((prompt, prompt.new_full((batch, max_new_tokens), filler)), dim=1)
    finished = torch.zeros(batch, dtype=torch.bool, device=prompt.device)
    cache = model.new_cache(batch, ids.shape[1])
    for end in range(start, ids.shape[1]):
        seen = None if mask is None else mask[:, :end]
        new = ids[:, cache.length : end]  # first the whole prompt, later one token
        hidden = model.encode(new, seen, cache=cache).last_hidden_state[:, -1:]
        scores = model.head(Output(hidden), None).logits[:, -1].float()  # [batch, vocabulary]
        # To the penalty, a padded place stands for the prompt's last token, which is always text.
        token = choose(scores, ids[:, :end] if seen is None else ids[:, :end].where(seen, prompt[:, -1:]))
        ids[:, end] = token.masked_fill(finished, filler)
        if ends is not None:
            finished |= torch.isin(token, ends)
            if finished.all():
                return ids[:, : end + 1]
    return ids


def penalize_repetition(scores: Tensor, text: Tensor, penalty: float) -> Tensor:
    """Lower the scores [batch, vocabulary] of the tokens in `text` [batch, length], however often they stand there.

    A positive score is divided by `penalty`, a negative one multiplied, so that both fall where it is above 1.
    """
    own = scores.gather(1, text)
    return scores.scatter(1, text, torch.where(own > 0, own / penalty, own * penalty))


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


def _draw(scores: Tensor, temperature: float, top_k: int | None, top_p: float | None, draws: torch.Generator) -> Tensor:
    """One token a row, at random: scores [batch, vocabulary] -> [batch]."""
    scores = scores / temperature
    if top_k is not None:
        scores = keep_top_k(scores, top_k)
    if top_p is not None:
        scores = keep_top_p(scores, top_p)
    return torch.multinomial(scores.softmax(-1), 1, generator=draws)[:, 0]


def _generator(seed: int | None, device: torch.device) -> torch.Generator:
    """A generator of this call's own, so that drawing disturbs no other random numbers."""
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    return torch.Generator(device).manual_seed(seed)


def _end_tokens(model: Model, device: torch.device) -> tuple[Tensor | None, int]:
    """The end tokens, or None where the config names none, and the id that fills what follows."""
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    if end is None or end == []:
        return None, 0  # no row ends before the last token: nothing stays filled
    ends = torch.tensor([end] if isinstance(end, int) else end, device=device)
    rows = len(model.get_parameter("embeddings.token.weight"))
    return ends, pad if pad is not None and 0 <= pad < rows else int(ends[0])


def _grown_mask(prompt: Tensor, attention_mask: Tensor | None, max_new_tokens: int) -> Tensor | None:
    """The attention mask of prompt and continuation, bool [batch, prompt + new]; None where nothing is padded.

    InputError where a row does not consist of padding, then text: the continuation has to follow the text.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != prompt.shape:
        raise InputError(
            f"attention_mask must be [batch, length] like input_ids, {list(prompt.shape)}, "
            f"got {list(attention_mask.shape)}"
        )
    real = attention_mask.to(prompt.device).bool()
    empty = ~real.any(-1)
    if empty.any():
        raise InputError(f"the prompt of row {int(empty.nonzero()[0])} is empty: attention_mask hides all of it")
    gap = (real[:, :-1] & ~real[:, 1:]).any(-1)
    if gap.any():
        raise InputError(
            f"row {int(gap.nonzero()[0])} has padding after its text: pad prompts on the left "
            '(tokenizer.padding_side = "left")'
        )
    return None if real.all() else torch.cat((real, real.new_ones(len(real), max_new_tokens)), dim=1)


def _check_length(model: Model, prompt: Tensor, mask: Tensor | None, max_new_tokens: int) -> None:
    limit = model.position_limit
    longest = prompt.shape[1] if mask is None else int(mask[:, : prompt.shape[1]].sum(-1).max())
    if limit is not None and longest + max_new_tokens > limit:
        raise InputError(
            f"a prompt of {longest} tokens and max_new_tokens={max_new_tokens} make {longest + max_new_tokens}; "
            f"this {model.config.model_type} model has positions for {limit}"
        )


def _check_arguments(
    model: Model,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float,
) -> None:
    if model.task != "causal-lm":
        raise InputError(
            f'generate needs a model with a "causal-lm" head; this {model.config.model_type} model has the task '
            f'"{model.task}": load it with task="causal-lm"'
        )
    rules = (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "at least 1"),
        ("temperature", temperature, temperature > 0, "above 0"),
        ("top_k", top_k, top_k is None or top_k >= 1, "at least 1"),
        ("top_p", top_p, top_p is None or 0 < top_p <= 1, "above 0 and at most 1"),
        ("repetition_penalty", repetition_penalty, repetition_penalty > 0, "above 0"),
    )
    for name, value, holds, wanted in rules:
        if not holds:
            raise InputError(f"{name} must be {wanted}, got {value}")
