"""Where in a model an answer is made: integrated gradients of the residual stream, layer by layer.

A cut is where all that the model knows of a text passes: the stream before the first layer, or after one. Equation 1
of Sundararajan et al. 2017 (`attribution.py`) holds there too, with the stream of the text for x and that of the
baseline for x′. So the shares of every cut add up to the same F(x) − F(x′), and from cut to cut one sees which tokens'
states hold the answer by then: at the bottom it lies where its words stand, at the top where the head reads it.

    source ─ pre ─► layer 0 ─ post ─► … ─ post ─┐
    target ─ pre ───────────────────────────────┴─► layer 0 ─ post ─► … ─ post ─► head

Of an encoder-decoder a cut goes through both streams: up the encoder first, while the target waits before its first
layer, then up the decoder, which goes on reading what the encoder ended with.
"""

from collections.abc import Mapping

from torch import Tensor

from minitl.inspect.attribution import Answer, Attribution, integrated_gradients
from minitl.inspect.stacks import stacks_of, stream_of
from minitl.models.base import Model


def attribution_by_layer(
    model: Model,
    inputs: Mapping[str, Tensor],
    answer: Answer,
    baseline: Mapping[str, Tensor],
    tolerance: float = 1e-3,
) -> dict[str, Attribution]:
    """The shares of each cut, lowest first, by the name of the activation that it has passed last.

    Arguments as of `integrated_gradients`; a cut costs what that does: a batch or more, forward and backward.
    """
    return {
        name: integrated_gradients(model, inputs, answer, baseline, tolerance, points)
        for name, points in cuts_of(model).items()
    }


def cuts_of(model: Model) -> dict[str, tuple[str, ...]]:
    """The activations of each cut, by the one that it has passed last."""
    source, *rest = (stream_of(model, stack) for stack in stacks_of(model))
    if not rest:
        return {name: (name,) for name in source}
    (target,) = rest
    cuts: dict[str, tuple[str, ...]] = {name: (name, target[0]) for name in source}
    return cuts | {name: (source[-1], name) for name in target[1:]}
