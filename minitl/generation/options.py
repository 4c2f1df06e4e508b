"""The arguments of a call, checked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import get_type_hints

import torch
from minitl_kernels import PackedLinears
from torch import Tensor

from minitl.errors import InputError
from minitl.generation.beam import EarlyStopping
from minitl.generation.endings import Endings, vocabulary_rows
from minitl.generation.rules import Rules
from minitl.generation.sequential import Sampling
from minitl.generation.writers import DecoderWriter, EncoderDecoderWriter, Writer
from minitl.models.base import Model
from minitl.models.config import describe, fits
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.nn.embeddings import as_ids
from minitl.tokenization import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Options:
    """How `generate` writes.

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
    """

    max_new_tokens: int = 128
    num_beams: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    decoder_start_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    stop_strings: Sequence[str] = ()
    tokenizer: Tokenizer | None = None
    seed: int | None = None

    def check(self, model: Model) -> None:
        """Raise InputError for a model that cannot write, or for the first option that is out of range."""
        self._check_types()
        if model.task not in ("causal-lm", "seq2seq-lm"):
            raise InputError(
                f'generate needs a model with a "causal-lm" or "seq2seq-lm" head; this {model.config.model_type} model '
                f'has the task "{model.task}"'
            )
        rules = (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("num_beams", self.num_beams >= 1, "at least 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("no_repeat_ngram_size", self.no_repeat_ngram_size >= 0, "at least 0"),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "between 0 and max_new_tokens"),
            # Beyond, scores leave the range of floating-point numbers.
            ("length_penalty", abs(self.length_penalty) <= 10, "between -10 and 10"),
            ("early_stopping", self.early_stopping in (True, False, "never"), 'True, False or "never"'),
            ("seed", self.seed is None or 0 <= self.seed < 2**63, "at least 0 and below 2 ** 63"),
        )
        for name, holds, wanted in rules:
            if not holds:
                raise InputError(f"{name} must be {wanted}, got {getattr(self, name)}")
        self._check_tokens(model)
        if self.num_beams > 1 and self.do_sample:
            raise InputError("num_beams above 1 looks for the likeliest text; do_sample draws one: choose")
        if model.task == "causal-lm" and self.decoder_start_token_id is not None:
            raise InputError(
                f"a {model.config.model_type} model has no decoder_start_token_id: it continues its prompt"
            )

    def _check_types(self) -> None:
        """Raise InputError for an option of another type than its own."""
        for name, hint in get_type_hints(Options).items():
            value = getattr(self, name)
            if name == "stop_strings":
                good = isinstance(value, (list, tuple)) and all(isinstance(string, str) for string in value)
                wanted = "a list of strings"
            elif name in ("tokenizer", "early_stopping"):
                continue
            else:
                good, wanted = fits(value, hint), describe(hint)
            if not good:
                raise InputError(f"{name} must be {wanted}, got {value!r}")

    def _check_tokens(self, model: Model) -> None:
        """Raise InputError for a token without a row, or beams that the vocabulary cannot feed."""
        vocabulary = vocabulary_rows(model)
        for name in ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"):
            token: int | None = getattr(self, name)
            if token is not None and not 0 <= token < vocabulary:
                raise InputError(f"{name} {token} is not in the vocabulary, which has ids 0 to {vocabulary - 1}")
        ends = model.config.eos_token_id if self.eos_token_id is None else self.eos_token_id
        needed = self.num_beams * max(2, 1 + (len(ends) if isinstance(ends, list) else 1))
        if self.num_beams > 1 and needed > vocabulary:
            raise InputError(
                f"num_beams={self.num_beams} looks at {needed} next tokens, but the vocabulary has {vocabulary}"
            )


WORTH_PACKING = 32  # tokens: packing the weights takes as long as ten to twenty packed products save


@dataclass(frozen=True)
class Call:
    """One call, ready to run. The model runs `within` a context: without gradients, and its weights packed."""

    writer: Writer
    rules: Rules
    endings: Endings
    sampling: Sampling | None
    packed: PackedLinears | None

    @contextmanager
    def within(self) -> Iterator[None]:
        with torch.inference_mode(), self.packed or nullcontext():
            yield


def prepare(model: Model, input_ids: Tensor, attention_mask: Tensor | None, options: Options) -> Call:
    """Check everything and lay it out; no model has run yet."""
    options.check(model)
    endings = Endings(model, as_ids(input_ids).device, options.eos_token_id, options.stop_strings, options.tokenizer)
    writer: Writer
    if isinstance(model, EncoderDecoder):
        start = options.decoder_start_token_id
        writer = EncoderDecoderWriter(model, input_ids, attention_mask, options.max_new_tokens, start)
    else:
        writer = DecoderWriter(model, input_ids, attention_mask, options.max_new_tokens)
    rules = Rules(
        ends=endings.ends,
        max_new_tokens=options.max_new_tokens,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        min_new_tokens=options.min_new_tokens,
        forced_bos_token_id=options.forced_bos_token_id,
        forced_eos_token_id=options.forced_eos_token_id,
    )
    sampling = None
    if options.do_sample:
        draws = _generator(options.seed, writer.prompt.device)
        sampling = Sampling(draws, options.temperature, options.top_k, options.top_p)
    packed = None
    if options.max_new_tokens >= WORTH_PACKING:
        modules = (module for part in writer.parts for module in part.modules())
        packed = PackedLinears(modules, len(writer.prompt) * options.num_beams)
    return Call(writer, rules, endings, sampling, packed)


def _generator(seed: int | None, device: torch.device) -> torch.Generator:
    """A generator of this call's own, so that drawing disturbs no other random numbers."""
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    return torch.Generator(device).manual_seed(seed)
