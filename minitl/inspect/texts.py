"""What a model reads of one text, and of the same without its words.

text, its pair ─ tokenizer ─► input_ids, …                              ┐
target, else what the model writes by itself ─►  decoder_input_ids      ┴─ words replaced ─► the baseline
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.generation import generate
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.tokenization import Tokenizer

WRITTEN = 32  # tokens, where no target is given


@dataclass(frozen=True)
class Reading:
    """One text as a model reads it.

    inputs   as the model takes them: one row, without padding
    parts    of each token of the text, 0 in the first and 1 in the second of a pair, None of neither; () of one text
    """

    inputs: dict[str, Tensor]
    parts: tuple[int | None, ...] = ()

    def ids(self, model: Model, stack: str) -> Tensor:
        """What a stack reads, [length]: of a decoder without a target, the source shifted by one."""
        source = self.inputs["input_ids"]
        if stack != "decoder.":
            return source[0]
        assert isinstance(model, EncoderDecoder)
        return (self.inputs["decoder_input_ids"] if "decoder_input_ids" in self.inputs else model.shift_right(source))[
            0
        ]


def read_text(model: Model, tokenizer: Tokenizer, text: str, pair: str | None, target: str | None) -> Reading:
    """The text, with its pair, and with what an encoder-decoder writes. InputError as of `look`."""
    for name, given in (("text", text), ("pair", pair), ("target", target)):
        if given is not None and not given.strip():
            raise InputError(f"the {name} is empty")
    if pair is not None and model.task in ("causal-lm", "seq2seq-lm"):
        raise InputError(f"a {model.task} model writes, and reads one text: no pair")
    batch = tokenizer([text], None if pair is None else [pair], truncation=False)
    known = {"input_ids", "attention_mask"} | model.family.inputs
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if name in known}
    parts = () if pair is None else tuple(batch.sequence_ids[0])
    return Reading({**inputs, **_target(model, tokenizer, inputs, target)}, parts)


def _target(model: Model, tokenizer: Tokenizer, inputs: Mapping[str, Tensor], target: str | None) -> dict[str, Tensor]:
    if not isinstance(model, EncoderDecoder) or model.decoder is None:
        if target is not None:
            raise InputError(f"a {model.config.model_type} model writes no target beside its text")
        return {}
    if model.task == "sequence-classification":
        if target is not None:
            raise InputError("a classifier of whole texts reads its text on both sides, and no target")
        return {}
    ids = inputs["input_ids"]
    if target is not None:
        spoken = tokenizer.target_language is not None
        written = tokenizer([target], truncation=False, as_target=spoken)["input_ids"].to(ids.device)
        return {"decoder_input_ids": model.shift_right(written)}
    if model.task == "seq2seq-lm":
        return {"decoder_input_ids": _written(model, tokenizer, inputs)}
    return {"decoder_input_ids": model.shift_right(ids)}


def _written(model: EncoderDecoder, tokenizer: Tokenizer, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the model writes by itself, in the tokenizer's target language if it has one: [1, length]."""
    language = tokenizer.target_language
    options: dict[str, Any] = {} if language is None else tokenizer.target_options(language)
    limit = WRITTEN if model.position_limit is None else min(WRITTEN, model.position_limit - 1)  # the start takes one
    return generate(model, inputs["input_ids"], inputs["attention_mask"], max_new_tokens=limit, **options)


def without_words(tokenizer: Tokenizer, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The baseline of attributions: the same inputs, every word `silent`."""
    return {name: silent(tokenizer, value) if name.endswith("input_ids") else value for name, value in inputs.items()}


def silent(tokenizer: Tokenizer, ids: Tensor) -> Tensor:
    """`ids` with every word's token replaced by one that says nothing, the mask or padding; special tokens stay."""
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    special |= set(tokenizer.languages.values())
    nothing = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, 0)
    filler = next(token for token in nothing if token is not None)
    stays = torch.isin(ids, torch.tensor([token for token in special if token is not None], device=ids.device))
    return torch.where(stays, ids, torch.full_like(ids, filler))


def usual_token(tokenizer: Tokenizer, ids: Tensor) -> int:
    """The first masked token, else the last one that is a word's."""
    masked = (ids == tokenizer.mask_token_id).nonzero() if tokenizer.mask_token_id is not None else ids[:0]
    if len(masked):
        return int(masked[0])
    changed = (silent(tokenizer, ids) != ids).nonzero()
    return int(changed[-1]) if len(changed) else 0
