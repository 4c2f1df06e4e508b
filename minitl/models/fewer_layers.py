"""A smaller model out of a larger one, by leaving layers out: how a student begins (Sanh et al. 2019, section 3).

teacher   embeddings ─ 0 ─ 1 ─ 2 ─ 3 ─ 4 ─ 5 ─ head
               │       │       │       │        │          keep_layers(teacher, [0, 2, 4])
student   embeddings ─ 0 ───── 1 ───── 2 ───── head
"""

from collections.abc import Sequence
from typing import Any

import torch

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.loading import new_model

DEPTHS = ("num_hidden_layers", "n_layers", "n_layer")  # what configurations call the number of layers


def keep_layers(model: Model, kept: Sequence[int]) -> Model:
    """A new model of `model`'s family and head with copies of its weights, but only the layers `kept`; in eval mode.

    kept   their numbers from the bottom, from 0, in rising order: every second one is DistilBERT's way

    It is what its own configuration says: where that gives layers a kind by their place (ModernBERT's reach), a layer
    may see more or less of the text in its new place. InputError: numbers that are none of the model's, an
    encoder-decoder, or a layer that has no like at its new place.
    """
    depth = len(model.layers) if not isinstance(model, EncoderDecoder) else 0
    if depth == 0:
        raise InputError(
            f"a {model.config.model_type} model has an encoder and a decoder: which to thin out is not known"
        )
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < depth:
        raise InputError(f"layers {list(kept)}: expected some of 0 to {depth - 1}, in rising order")
    first = next(model.parameters())
    small = new_model(_config(model, kept), model.task, dtype=first.dtype, device=first.device)
    stored = dict(model.stored())
    sources = {_source(name, kept): tensor for name, tensor in small.stored()}
    chosen = {name for i in kept for name in stored if name.startswith(f"layers.{i}.")}
    unlike = [name for name, t in sources.items() if name not in stored or stored[name].shape != t.shape]
    unlike += chosen - set(sources)
    if unlike:
        raise InputError(f"layers {list(kept)}: {min(unlike)} has no like in the smaller model: layers differ by place")
    with torch.no_grad():
        for name, tensor in sources.items():
            tensor.copy_(stored[name])
    # Not the checkpoint's own name: a training that goes on must know which layers it was.
    small.source = None if model.source is None else f"{model.source}, layers {list(kept)}"
    small.untaught = model.untaught
    return small


def _config(model: Model, kept: Sequence[int]) -> dict[str, Any]:
    values = model.config.to_dict()
    depth = next(name for name in DEPTHS if name in values)
    kinds = values.get("layer_types")  # where each layer's kind is listed
    chosen = {} if kinds is None else {"layer_types": [kinds[i] for i in kept]}
    return {**values, depth: len(kept), **chosen}


def _source(name: str, kept: Sequence[int]) -> str:
    """The larger model's name of a tensor."""
    if not name.startswith("layers."):
        return name
    _, number, rest = name.split(".", 2)
    return f"layers.{kept[int(number)]}.{rest}"
