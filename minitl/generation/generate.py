"""The two ways to ask for text: `generate` for all of it, `stream` for each token as it comes."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from minitl.errors import InputError
from minitl.generation.beam import EarlyStopping, beam_search
from minitl.generation.options import Call, Options, prepare
from minitl.generation.sequential import write
from minitl.models.base import Model
from minitl.tokenization import Tokenizer


def generate(
    model: Model,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int = 128,
    num_beams: int = 1,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    no_repeat_ngram_size: int = 0,
    min_new_tokens: int = 0,
    decoder_start_token_id: int | None = None,
    forced_bos_token_id: int | None = None,
    forced_eos_token_id: int | None = None,
    eos_token_id: int | list[int] | None = None,
    stop_strings: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    seed: int | None = None,
) -> Tensor:
    """Continue prompts with a model that carries a "causal-lm" head, or answer sources with a "seq2seq-lm" one.

    input_ids              [batch, prompt]; shorter prompts of a batch are padded on the left, shorter sources on
                           either side
    attention_mask         [batch, prompt], 1 = text, 0 = padding; None = all text
    max_new_tokens         at most so many tokens are written, fewer where every row has ended
    num_beams              1: one token after the other. More: beam search, which returns the text that is likeliest as
                           a whole of those it looked at (`minitl.generation.beam`)
    do_sample              False: the likeliest token each time. True: a draw, shaped by the next three
    temperature            scores are divided by it: below 1 sharpens, above 1 flattens
    top_k                  draw from the k likeliest tokens only (Fan et al. 2018, section 5.2)
    top_p                  draw from the fewest likeliest tokens that together reach this probability (Holtzman et al.
                           2020, section 3.1)
    repetition_penalty     factor by which tokens of the text so far lose score (Keskar et al. 2019, section 4.1)
    length_penalty, early_stopping   of beam search
    no_repeat_ngram_size   no n-gram of so many tokens is written twice; 0 = any may be
    min_new_tokens         no end token before so many are written
    decoder_start_token_id   what a decoder begins with, if not config.json's (mBART-25: the target language)
    forced_bos_token_id    the first token written (mBART-50, M2M100, NLLB: the target language)
    forced_eos_token_id    the last token written by a text that grows to max_new_tokens
    eos_token_id           what ends a text, one or several; None = config.json's
    stop_strings           a text also ends where it contains one of them; needs the `tokenizer`
    seed                   of the draws; None = drawn from torch's generator, so that `torch.manual_seed` governs it

    A row ends with an end token; what follows is filled with config.pad_token_id, or the end
    token where there is none or the model has no row for it. Dropout is as the model's mode says: `load_model` gives
    eval mode. On the CPU, where many tokens are asked for, the weights (up to 2 GiB of them) are meanwhile in memory
    twice, the second time in the order in which they are read.

    Returns int64 [batch, prompt + new], the prompt included; of an encoder-decoder [batch, 1 + new], the start token
    included. InputError, before any work: a model without such a head, an empty prompt, padding of a prompt that does
    not stand on the left, an argument out of range, or a text that could grow beyond the model's table of positions.
    """
    options = Options(
        max_new_tokens=max_new_tokens,
        num_beams=num_beams,
        do_sample=do_sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        no_repeat_ngram_size=no_repeat_ngram_size,
        min_new_tokens=min_new_tokens,
        decoder_start_token_id=decoder_start_token_id,
        forced_bos_token_id=forced_bos_token_id,
        forced_eos_token_id=forced_eos_token_id,
        eos_token_id=eos_token_id,
        stop_strings=stop_strings,
        tokenizer=tokenizer,
        seed=seed,
    )
    call = prepare(model, input_ids, attention_mask, options)
    with call.within():
        if num_beams > 1:
            ids = beam_search(call.writer, call.rules, call.endings, num_beams, length_penalty, early_stopping)
        else:
            *_, ids = write(call.writer, call.rules, call.endings, call.sampling)
    return ids.clone()  # an ordinary tensor, which may be trained on


def stream(model: Model, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Iterator[Tensor]:
    """As `generate` without beams, but each token as soon as it is chosen: int64 [batch], the filler for ended rows.

    options   `generate`'s; InputError for num_beams, as beam search knows its text at the end only
    """
    if options.get("num_beams", 1) != 1:
        raise InputError("beam search knows its text at the end only: stream takes no num_beams")
    call = prepare(model, input_ids, attention_mask, Options(**options))
    return _latest(call)


def _latest(call: Call) -> Iterator[Tensor]:
    """Token by token; in between, gradients are on, and the model is as it was."""
    texts = write(call.writer, call.rules, call.endings, call.sampling)
    while True:
        with call.within():
            ids = next(texts, None)
        if ids is None:
            return
        yield ids[:, -1].clone()
