"""Gradient checkpointing: keep what enters each layer, and compute the rest again going back (Chen et al. 2016).

Memory of activations falls from all of every layer to one layer's and the inputs of the others; a step takes about a
third longer. What is drawn in a layer, such as dropout, is drawn the same again.
"""

import contextlib
import functools
from collections.abc import Iterator

from torch import nn
from torch.utils.checkpoint import checkpoint

from minitl.models.base import Model


@contextlib.contextmanager
def recomputed(model: Model, wanted: bool = True) -> Iterator[None]:
    """The layers of `model`, a decoder's too, forget what they computed meanwhile; nothing where not `wanted`."""
    layers = blocks(model) if wanted else []
    for layer in layers:
        layer.forward = _forgetful(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of every stack of `model`."""
    return [
        block
        for name, stack in model.named_modules()
        if name.rpartition(".")[2] == "layers" and isinstance(stack, nn.ModuleList)
        for block in stack
    ]


def _forgetful(layer: nn.Module) -> functools.partial[object]:
    # Not reentrant: over a frozen base nothing that enters the first layer needs a gradient, and its adapters still do.
    return functools.partial(checkpoint, layer.forward, use_reentrant=False)
