"""All that the page shows of one text, as tensors.

text ─ tokenizer ─ model, traced ─┬─ attention maps, their rollout
                                  ├─ the residual stream ─ lens: predictions after each layer
                                  │                      └ similarity of layers
                                  └─ F ─ gradients ─► attributions, to the words and layer by layer
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.inspect.adapter_change import AdapterChange, adapter_changes
from minitl.inspect.answers import Question, question_of, shown
from minitl.inspect.attribution import Attribution, gradient_times_input, integrated_gradients
from minitl.inspect.layer_attribution import attribution_by_layer
from minitl.inspect.lens import lens_of
from minitl.inspect.maps import rollout
from minitl.inspect.stacks import stacks_of, stream_of
from minitl.inspect.texts import Reading, read_text, usual_token, without_words
from minitl.inspect.trace import Trace, trace
from minitl.models.base import Model
from minitl.probing.similarity import linear_cka_of_few
from minitl.tokenization import Tokenizer

GUESSES = 5  # a layer and token
ROUGHLY = 1e-2  # how far the shares of a layer may be from their sum: the page shows two digits


@dataclass(frozen=True)
class Stack:
    """One stack of layers on one text.

    name       "" of a model with one, else "encoder" or "decoder"
    tokens     as people read them, [length]
    parts      of each token, 0 in the first text and 1 in the second, None of neither; () unless it read a pair
    maps       float32 [layers, heads, length, length], rows sum to 1
    flow       float32 [layers, length, length]: the rollout
    cross      float32 [layers, heads, length, source], of a decoder that looks at a source; else None
    cosines    float32 [layers, length]: of each token's state before and after a layer
    alike      float32 [layers + 1, layers + 1]: linear CKA of the states of two layers over this text, embeddings first
    """

    name: str
    tokens: tuple[str, ...]
    parts: tuple[int | None, ...]
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
    attributions   to the words, by the method's name
    by_layer       to the states between layers, lowest first, by the name of the last activation of each cut
    guesses        None of a model that cannot be read layer by layer, and then `unread` says why
    changes        of the active adapter; () = none
    """

    source: str
    family: str
    task: str
    stacks: tuple[Stack, ...]
    question: str
    attributions: Mapping[str, Attribution]
    by_layer: Mapping[str, Attribution]
    guesses: Guesses | None
    unread: str
    changes: tuple[AdapterChange, ...]
    steps: tuple[Step, ...]


def look(
    model: Model,
    tokenizer: Tokenizer,
    text: str,
    target: str | None = None,
    *,
    pair: str | None = None,
    at: int | None = None,
) -> Look:
    """Look at `model` as it reads `text`.

    target   what an encoder-decoder writes, in the tokenizer's `target_language`; None = what it would write, or
             without a head for that the source again
    pair     the second text, of a model that reads two
    at       the token that the attributions are about, where the head answers token by token

    InputError: an empty text, one beyond the positions, a target without a decoder, a pair for a model that writes, no
    such token, a token of a head that answers for the whole text. The model is put into eval mode.
    """
    model.eval()
    reading = read_text(model, tokenizer, text, pair, target)
    points = ("*residual.*", "*attention.weights", "embeddings")
    with torch.no_grad(), trace(model, *points) as seen:
        output = model(**reading.inputs)
    question = question_of(model, tokenizer, output, at, usual_token(tokenizer, reading.ids(model, "")))
    if at is not None and question.at is None:
        raise InputError(f"token {at} cannot be asked about: a {model.task} answers for its whole text")
    guesses, unread = _guesses(model, tokenizer, seen)
    baseline = without_words(tokenizer, reading.inputs)
    return Look(
        str(model.source or ""),
        model.config.model_type,
        model.task,
        tuple(_stack(model, tokenizer, seen, reading, stack) for stack in stacks_of(model)),
        question.title,
        _attributions(model, reading.inputs, question, baseline),
        attribution_by_layer(model, reading.inputs, question.answer, baseline, ROUGHLY),
        guesses,
        unread,
        tuple(adapter_changes(model)) if getattr(model, "lora", None) is not None else (),
        tuple(Step(name, tuple(seen[name].shape), seen.lines[name]) for name in seen if name in seen.lines),
    )


def _stack(model: Model, tokenizer: Tokenizer, seen: Trace, reading: Reading, stack: str) -> Stack:
    states = stream(model, seen, stack)
    layers = [f"{stack}layers.{i}" for i in range(len(states) - 1)]
    maps = [seen[f"{layer}.attention.weights"][0].float() for layer in layers]
    crossed = [f"{layer}.cross_attention.weights" for layer in layers]
    cross = torch.stack([seen[one][0].float() for one in crossed]) if crossed[0] in seen else None
    cosines = torch.nn.functional.cosine_similarity(states[:-1], states[1:], dim=-1)
    alike = linear_cka_of_few(states).float()
    tokens = tuple(shown(tokenizer, int(token)) for token in reading.ids(model, stack))
    parts = () if stack == "decoder." else reading.parts
    name, flow = stack.rstrip("."), torch.stack(rollout(maps))
    return Stack(name, tokens, parts, torch.stack(maps), flow, cross, cosines, alike)


def stream(model: Model, seen: Trace, stack: str) -> Tensor:
    """The residual stream of the first text before and after each layer: float32 [layers + 1, length, hidden]."""
    return torch.stack([seen[name][0].float() for name in stream_of(model, stack)])


def _guesses(model: Model, tokenizer: Tokenizer, seen: Trace) -> tuple[Guesses | None, str]:
    try:
        lens = lens_of(model)
    except InputError as error:
        return None, str(error)
    words, probabilities = [], []
    for state in stream(model, seen, lens.stack).to(next(model.parameters()).dtype):
        with torch.no_grad():
            found = lens(state[None])[0].float().softmax(-1).topk(GUESSES)
        probabilities.append(found.values)
        words.append(tuple(tuple(shown(tokenizer, token) for token in row) for row in found.indices.tolist()))
    return Guesses(lens.through, int(lens.stack == "decoder."), tuple(words), torch.stack(probabilities)), ""


def _attributions(
    model: Model, inputs: Mapping[str, Tensor], question: Question, baseline: Mapping[str, Tensor]
) -> dict[str, Attribution]:
    return {
        "gradient × input": gradient_times_input(model, inputs, question.answer),
        "integrated gradients": integrated_gradients(model, inputs, question.answer, baseline),
    }
