"""All that the page shows of one text, as tensors.

text ─ tokenizer ─ model, traced ─┬─ attention maps, their rollout
                                  ├─ the residual stream ─ lens: predictions after each layer
                                  │                      └ similarity of layers
                                  └─ F ─ gradients ─► attributions
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.generation import generate
from minitl.inspect.adapter_change import AdapterChange, adapter_changes
from minitl.inspect.answers import Question, question_of, shown
from minitl.inspect.attribution import Attribution, gradient_times_input, integrated_gradients
from minitl.inspect.lens import lens_of, stack_of
from minitl.inspect.maps import rollout
from minitl.inspect.trace import Trace, trace
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.probing.similarity import linear_cka_of_few
from minitl.tokenization import Tokenizer

WRITTEN = 32  # tokens, where no target is given
GUESSES = 5  # a layer and token


@dataclass(frozen=True)
class Stack:
    """One stack of layers on one text.

    name       "" of a model with one, else "encoder" or "decoder"
    tokens     as people read them, [length]
    maps       float32 [layers, heads, length, length], rows sum to 1
    flow       float32 [layers, length, length]: the rollout
    cross      float32 [layers, heads, length, source], of a decoder that looks at a source; else None
    cosines    float32 [layers, length]: of each token's state before and after a layer
    alike      float32 [layers + 1, layers + 1]: linear CKA of the states of two layers over this text, embeddings first
    """

    name: str
    tokens: tuple[str, ...]
    maps: Tensor
    flow: Tensor
    cross: Tensor | None
    cosines: Tensor
    alike: Tensor


@dataclass(frozen=True)
class Guesses:
    """What the lens reads after each layer, embeddings first.

    through         which head it read with
    stack           the index of the stack it reads
    words           [layers + 1][length][k], likeliest first
    probabilities   float32 [layers + 1, length, k]
    """

    through: str
    stack: int
    words: tuple[tuple[tuple[str, ...], ...], ...]
    probabilities: Tensor


@dataclass(frozen=True)
class Step:
    """One point of the residual stream: its name, its shape, the line of code that made it, and that line."""

    name: str
    shape: tuple[int, ...]
    line: str


@dataclass(frozen=True)
class Look:
    """One model on one text.

    question       what the attributions explain, in words
    attributions   by the method's name
    guesses        None of a model that cannot be read layer by layer, and then `unread` says why
    changes        of the active adapter; () = none
    """

    source: str
    family: str
    task: str
    stacks: tuple[Stack, ...]
    question: str
    attributions: Mapping[str, Attribution]
    guesses: Guesses | None
    unread: str
    changes: tuple[AdapterChange, ...]
    steps: tuple[Step, ...]


def look(model: Model, tokenizer: Tokenizer, text: str, target: str | None = None, *, at: int | None = None) -> Look:
    """Look at `model` as it reads `text`.

    target   what an encoder-decoder writes, in the tokenizer's `target_language`; None = what it would write, or
             without a head for that the source again
    at       the token that the attributions are about, where the head answers token by token

    InputError: an empty text, one beyond the positions, a target without a decoder, no such token, a token of a head
    that answers for the whole text. The model is put into eval mode.
    """
    model.eval()
    inputs = _inputs(model, tokenizer, text, target)
    points = ("*residual.*", "*attention.weights", "embeddings")
    with torch.no_grad(), trace(model, *points) as seen:
        output = model(**inputs)
    question = question_of(model, tokenizer, output, at, _usual_token(tokenizer, inputs["input_ids"][0]))
    if at is not None and question.at is None:
        raise InputError(f"token {at} cannot be asked about: a {model.task} answers for its whole text")
    guesses, unread = _guesses(model, tokenizer, seen)
    names = ["encoder", "decoder"] if isinstance(model, EncoderDecoder) and model.decoder is not None else None
    names = names or [stack_of(model).rstrip(".")]
    return Look(
        str(model.source or ""),
        model.config.model_type,
        model.task,
        tuple(_stack(seen, name, _ids(model, inputs, name), tokenizer) for name in names),
        question.title,
        _attributions(model, tokenizer, inputs, question),
        guesses,
        unread,
        tuple(adapter_changes(model)) if getattr(model, "lora", None) is not None else (),
        tuple(Step(name, tuple(seen[name].shape), seen.lines[name]) for name in seen if name in seen.lines),
    )


def _inputs(model: Model, tokenizer: Tokenizer, text: str, target: str | None) -> dict[str, Tensor]:
    """What the model reads: one row, without padding."""
    for name, given in (("text", text), ("target", target)):
        if given is not None and not given.strip():
            raise InputError(f"the {name} is empty")
    batch = tokenizer([text], truncation=False)
    known = {"input_ids", "attention_mask"} | model.family.inputs
    inputs = {name: value.to(_device(model)) for name, value in batch.items() if name in known}
    decoder = isinstance(model, EncoderDecoder) and model.decoder is not None
    if target is not None and not decoder:
        raise InputError(f"a {model.config.model_type} model writes no target beside its text")
    if not isinstance(model, EncoderDecoder) or not decoder:
        return inputs
    if model.task == "sequence-classification":
        if target is not None:
            raise InputError("a classifier of whole texts reads its text on both sides, and no target")
        return inputs
    if target is not None:
        spoken = tokenizer.target_language is not None
        written = tokenizer([target], truncation=False, as_target=spoken)["input_ids"].to(_device(model))
        inputs["decoder_input_ids"] = model.shift_right(written)
    elif model.task == "seq2seq-lm":
        inputs["decoder_input_ids"] = _written(model, tokenizer, inputs)
    else:
        inputs["decoder_input_ids"] = model.shift_right(inputs["input_ids"])
    return inputs


def _written(model: EncoderDecoder, tokenizer: Tokenizer, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the model writes by itself, in the tokenizer's target language if it has one: [1, length]."""
    language = tokenizer.target_language
    options: dict[str, Any] = {} if language is None else tokenizer.target_options(language)
    limit = WRITTEN if model.position_limit is None else min(WRITTEN, model.position_limit - 1)  # the start takes one
    return generate(model, inputs["input_ids"], inputs["attention_mask"], max_new_tokens=limit, **options)


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device


def _ids(model: Model, inputs: Mapping[str, Tensor], stack: str) -> Tensor:
    if stack != "decoder":
        return inputs["input_ids"][0]
    assert isinstance(model, EncoderDecoder)
    return (
        inputs["decoder_input_ids"][0] if "decoder_input_ids" in inputs else model.shift_right(inputs["input_ids"])[0]
    )


def _stack(seen: Trace, name: str, ids: Tensor, tokenizer: Tokenizer) -> Stack:
    prefix = f"{name}." if name else ""
    layers = sum(one.startswith(f"{prefix}layers.") and one.endswith(".residual.post") for one in seen)
    maps = [seen[f"{prefix}layers.{i}.attention.weights"][0].float() for i in range(layers)]
    crossed = [f"{prefix}layers.{i}.cross_attention.weights" for i in range(layers)]
    cross = torch.stack([seen[one][0].float() for one in crossed]) if crossed[0] in seen else None
    states = stream(seen, prefix, layers)
    cosines = torch.nn.functional.cosine_similarity(states[:-1], states[1:], dim=-1)
    alike = linear_cka_of_few(states).float()
    tokens = tuple(shown(tokenizer, int(token)) for token in ids)
    return Stack(name, tokens, torch.stack(maps), torch.stack(rollout(maps)), cross, cosines, alike)


def stream(seen: Trace, prefix: str, layers: int) -> Tensor:
    """The residual stream of the first text before and after each layer: float32 [layers + 1, length, hidden]."""
    states = [
        seen[f"{prefix}layers.0.residual.pre"],
        *(seen[f"{prefix}layers.{i}.residual.post"] for i in range(layers)),
    ]
    return torch.stack([state[0].float() for state in states])


def _guesses(model: Model, tokenizer: Tokenizer, seen: Trace) -> tuple[Guesses | None, str]:
    try:
        lens = lens_of(model)
    except InputError as error:
        return None, str(error)
    layers = sum(one.startswith(f"{lens.stack}layers.") and one.endswith(".residual.post") for one in seen)
    words, probabilities = [], []
    for state in stream(seen, lens.stack, layers).to(next(model.parameters()).dtype):
        with torch.no_grad():
            found = lens(state[None])[0].float().softmax(-1).topk(GUESSES)
        probabilities.append(found.values)
        words.append(tuple(tuple(shown(tokenizer, token) for token in row) for row in found.indices.tolist()))
    return Guesses(lens.through, int(lens.stack == "decoder."), tuple(words), torch.stack(probabilities)), ""


def _attributions(
    model: Model, tokenizer: Tokenizer, inputs: Mapping[str, Tensor], question: Question
) -> dict[str, Attribution]:
    baseline = dict(inputs)
    for name in ("input_ids", "decoder_input_ids"):
        if name in inputs:
            baseline[name] = silent(tokenizer, inputs[name])
    return {
        "gradient × input": gradient_times_input(model, inputs, question.answer),
        "integrated gradients": integrated_gradients(model, inputs, question.answer, baseline),
    }


def silent(tokenizer: Tokenizer, ids: Tensor) -> Tensor:
    """`ids` with every word's token replaced by one that says nothing, the mask or padding; special tokens stay."""
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    special |= set(tokenizer.languages.values())
    nothing = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, 0)
    filler = next(token for token in nothing if token is not None)
    stays = torch.isin(ids, torch.tensor([token for token in special if token is not None], device=ids.device))
    return torch.where(stays, ids, torch.full_like(ids, filler))


def _usual_token(tokenizer: Tokenizer, ids: Tensor) -> int:
    """The first masked token, else the last one that is a word's."""
    masked = (ids == tokenizer.mask_token_id).nonzero() if tokenizer.mask_token_id is not None else ids[:0]
    if len(masked):
        return int(masked[0])
    changed = (silent(tokenizer, ids) != ids).nonzero()
    return int(changed[-1]) if len(changed) else 0
