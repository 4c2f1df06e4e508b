"""Usual changes of activations, for `Trace.edit`.

Tokens are along the last axis but one, as in every activation that is not an attention map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minitl.errors import InputError
from minitl.nn.tapped import Watcher


def ablate_heads(*heads: int, mean: bool = False) -> Watcher:
    """Silence heads of `attention.context` [batch, heads, length, head_dim], or of a map: put 0 in their place.

    mean   put their mean over batch and tokens instead, which takes away what a head says of this text and leaves what
           it always says

    InputError, when the model runs: no such head.
    """

    def change(x: Tensor) -> Tensor:
        absent = [head for head in heads if not 0 <= head < x.shape[1]]
        if absent:
            raise InputError(f"head {absent[0]}: there are {x.shape[1]}, counted from 0")
        chosen = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
        chosen[list(heads)] = True
        silent = x.mean(dim=(0, 2), keepdim=True) if mean else torch.zeros_like(x)
        return torch.where(chosen[:, None, None], silent, x)

    return change


def patch(other: Tensor, tokens: Sequence[int] | None = None) -> Watcher:
    """Put what was recorded elsewhere, as with another text, in its place (activation patching, Vig et al. 2020).

    tokens   which of them; None = all

    InputError, when the model runs: what was recorded does not fit, as of a text of another length.
    """

    def change(x: Tensor) -> Tensor:
        try:
            there = other.to(x).expand_as(x)
        except RuntimeError as error:
            raise InputError(f"a patch of the shape {list(other.shape)} does not fit {list(x.shape)}") from error
        return there if tokens is None else torch.where(_at(x, tokens), there, x)

    return change


def add(vector: Tensor, tokens: Sequence[int] | None = None) -> Watcher:
    """Add a vector, as to steer a model (Turner et al. 2023): to all tokens, or to some.

    vector   [hidden], or anything that can be added to the activation
    """

    def change(x: Tensor) -> Tensor:
        moved = x + vector.to(x)
        return moved if tokens is None else torch.where(_at(x, tokens), moved, x)

    return change


def _at(x: Tensor, tokens: Sequence[int]) -> Tensor:
    """True at `tokens`, False elsewhere: [length, 1]."""
    length = x.shape[-2]
    absent = [token for token in tokens if not -length <= token < length]
    if absent:
        raise InputError(f"token {absent[0]}: there are {length}")
    there = torch.zeros(length, 1, dtype=torch.bool, device=x.device)
    there[list(tokens)] = True
    return there
