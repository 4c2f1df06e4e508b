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

    input_ids        [batch, prompt]; shorter prompts of a batch are padded on the left, shorter sources on either side
    attention_mask   [batch, prompt], 1 = text, 0 = padding; None = all text

    The other arguments say how: `minitl.generation.options.Options` explains each.

    A row ends with an end token; what follows is filled with config.pad_token_id, or the end token where there is none
    or the model has no row for it. Dropout is as the model's mode says: `load_model` gives
    eval mode. On the CPU, where many tokens are asked for, the weights (up to 2 GiB of them) are meanwhile in memory
    twice, the second time in the order in which they are read.

    Returns int64 [batch, prompt + new], the prompt included; of an encoder-decoder [batch, 1 + new], the start token
    included. InputError, before any work: a model without such a head, an empty prompt, padding of a prompt that does
    not stand on the left, an argument out of range, or a text that could grow beyond the model's table of positions.
    """
    options = Options(
        max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=do_sample, temperature=temperature, top_k=top_k,
        top_p=top_p, repetition_penalty=repetition_penalty, length_penalty=length_penalty,
        early_stopping=early_stopping, no_repeat_ngram_size=no_repeat_ngram_size, min_new_tokens=min_new_tokens,
        decoder_start_token_id=decoder_start_token_id, forced_bos_token_id=forced_bos_token_id,
        forced_eos_token_id=forced_eos_token_id, eos_token_id=eos_token_id, stop_strings=stop_strings,
        tokenizer=tokenizer, seed=seed,
    )  # fmt: skip
    return _whole(prepare(model, input_ids, attention_mask, options), options)


def _whole(call: Call, options: Options) -> Tensor:
    """The texts when all of them have ended."""
    with call.within():
        if options.num_beams > 1:
            shape = options.num_beams, options.length_penalty, options.early_stopping
            ids = beam_search(call.writer, call.rules, call.endings, *shape)
        else:
            *_, ids = write(call.writer, call.rules, call.endings, call.sampling)
    return ids.clone()  # an ordinary tensor, which may be trained on


def stream(model: Model, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Iterator[Tensor]:
    """As `generate` without beams, but each token as soon as it is chosen: int64 [batch], the filler for ended rows.

    options   those of `generate`; InputError for num_beams, as beam search knows its text at the end only
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
