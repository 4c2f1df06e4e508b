"""Looks to make pages of, and pages taken apart again."""

import base64
import json
import re
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitl.inspect.adapter_change import AdapterChange
from minitl.inspect.attribution import Attribution
from minitl.inspect.look import Guesses, Look, Stack, Step

HALF = 0.5 / 255  # a weight on the page is no further from the model's, but for float32's own rounding
HOSTILE = ("</script><b>bold</b>", "<!--<script>", "a\u2028b", '"quoted\\"', "&lt;", "\u202eright", "long" * 40, "\x00")


def unpacked(page: str) -> tuple[dict[str, Any], bytes]:
    """The JSON of a page, and the cells of its maps."""
    values = re.search(r'<script type="application/json" id="look">(.*?)</script>', page, re.DOTALL)
    maps = re.search(r'<script type="text/plain" id="maps">(.*?)</script>', page, re.DOTALL)
    assert values
    assert maps
    return json.loads(values[1]), zlib.decompress(base64.b64decode(maps[1], validate=True))


def weights(place: dict[str, Any], cells: bytes) -> Tensor:
    """The maps that lie at `place`, as numbers from 0 to 1."""
    count = int(np.prod(place["shape"]))
    steps = np.frombuffer(cells, dtype=np.uint8, count=count, offset=place["offset"])
    return torch.from_numpy(steps.astype(np.float32) / 255).reshape(place["shape"])


def large_look(length: int = 64, layers: int = 12, heads: int = 12, rank: int = 16) -> Look:
    """An encoder-decoder's, of maps as hard to pack as maps can be: rows that sum to 1, and are random otherwise."""
    encoder, decoder = (_stack(name, length, layers, heads) for name in ("encoder", "decoder"))
    words = tuple(
        tuple(tuple(f"word{(layer * t + k) % 997}" for k in range(5)) for t in range(length))
        for layer in range(layers + 1)
    )
    guesses = Guesses("the checkpoint's own head", 1, words, torch.rand(layers + 1, length, 5))
    shares = Attribution(torch.randn(length), torch.randn(length), 3.0)
    changes = tuple(
        AdapterChange(f"{side}.layers.{i}.attention.{part}", 1.25, 0.01, tuple(torch.rand(rank).tolist()))
        for side in ("encoder", "decoder")
        for i in range(layers)
        for part in ("query", "key", "value", "output")
    )
    methods = {"gradient × input": shares, "integrated gradients": shares}
    cuts = {f"{side}.layers.{i}.residual.post": shares for side in ("encoder", "decoder") for i in range(layers)}
    step = Step("encoder.layers.0.residual.pre", (1, length, 8), "models/bart.py:1")
    return Look("a/large", "bart", "seq2seq-lm", (encoder, decoder), "F", methods, cuts, guesses, "", changes, (step,))


def _stack(name: str, length: int, layers: int, heads: int) -> Stack:
    tokens = tuple(f"{name}{i}" for i in range(length))
    cross = _maps(layers, heads, length) if name == "decoder" else None
    flow = _maps(layers, 1, length)[:, 0]
    alike, cosines = torch.rand(layers + 1, layers + 1), torch.rand(layers, length)
    return Stack(name, tokens, (), _maps(layers, heads, length), flow, cross, cosines, alike)


def _maps(layers: int, heads: int, length: int) -> Tensor:
    drawn = torch.empty(layers, heads, length, length).exponential_()
    return drawn / drawn.sum(-1, keepdim=True)
