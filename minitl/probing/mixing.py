"""Which layers a task needs when it may mix them: scalar mixes and what their weights say.

    x = gamma · Σ_l softmax(s)_l · x_l      (Peters et al. 2018, equation 1; Tenney et al. 2019a)

A mix over the layers up to l, for each l, says what layer l adds to those below (Tenney et al. 2019b,
arXiv:1905.05950, section 3.2): all these mixes are trained side by side like the layers of other probes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minitl.probing.probes import Parameters, Probe, Sizes

# s is what is learnt times this. Adam's steps are of one size whatever the gradient's, so s moves as many times faster
# than the probe's weights: at their rate a probe is done in few rounds, and s hardly has moved from a plain mean of the
# layers. In MiniLM, losses are lower so (parts of speech and relations in 150 sentences of EWT).
HASTE = 10.0


class Mixed:
    """`probe` over mixes: one over the embeddings, one over the embeddings and layer 1, …, the last one over all.

    last   up to which layer the mix of each row goes; None = as said
    """

    def __init__(self, probe: Probe, last: Tensor | None = None) -> None:
        self.probe, self.last = probe, last
        self.reads = probe.reads

    def _last(self, layers: int) -> Tensor:
        return torch.arange(layers) if self.last is None else self.last

    def rows(self, layers: int) -> int:
        return len(self._last(layers))

    def kept(self, rows: Tensor, layers: int) -> tuple[Probe, Tensor | None]:
        return Mixed(self.probe, self._last(layers)[rows]), None

    def new(self, sizes: Sizes, generator: Generator) -> Parameters:
        mix = {"mix.share": torch.zeros(sizes.layers), "mix.gamma": torch.ones(())}
        return {**self.probe.new(sizes, generator), **mix}

    def __call__(self, parameters: Parameters, x: Tensor, real: Tensor) -> Tensor:
        shares = self.shares(parameters)  # [questions, rows, seeds, layers]
        questions, rows, seeds, _ = shares.shape
        scaled = shares * parameters["mix.gamma"][..., None]
        mixed = torch.einsum("lsn,qrsl->qrsn", x.flatten(2), scaled)
        mixed = mixed.view(questions * rows, seeds, *x.shape[2:])  # every question has mixes of its own
        inner = {
            name: value.reshape(1, questions * rows, *value.shape[2:])
            for name, value in parameters.items()
            if not name.startswith("mix.")
        }
        return self.probe(inner, mixed, real)[0].unflatten(0, (questions, rows))

    def shares(self, parameters: Parameters) -> Tensor:
        """softmax(s): [questions, rows, seeds, layers], 0 for the layers that a row does not see."""
        weights = HASTE * parameters["mix.share"]
        layers = weights.shape[-1]
        hidden = torch.arange(layers) > self._last(layers)[:, None]
        return weights.masked_fill(hidden[:, None], -math.inf).softmax(-1)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Of each seed: shares [seeds, layers], scores of the cumulative mixes [seeds, layers]."""

    shares: Tensor
    scores: Tensor

    def centre_of_gravity(self, layers: Sequence[int]) -> Tensor:
        """Σ l · s_l [seeds]: the layer around which a task draws (Tenney et al. 2019b, equation 2)."""
        return self.shares @ torch.tensor(layers, dtype=self.shares.dtype)

    def differences(self) -> Tensor:
        """What each layer adds to those below: [seeds, layers - 1] (Tenney et al. 2019b, equation 3)."""
        return self.scores.diff(dim=-1)

    def expected_layer(self, layers: Sequence[int]) -> Tensor:
        """Σ l · Δ_l / Σ Δ_l [seeds] (Tenney et al. 2019b, equation 4); nan where the layers add nothing in all."""
        gains = self.differences()
        total = gains.sum(-1)
        depths = gains @ torch.tensor(layers[1:], dtype=gains.dtype)
        return torch.where(total > 0, depths / total, torch.nan)
