"""LoRA+: B learns faster than A (Hayou, Ghosh & Yu 2024, arXiv:2402.12354).

B starts at zero and A does not. At one rate for both, a wide layer's A hardly moves while B does all the learning's
work too slowly; the paper derives that the rate of B must be the larger one, by a ratio of about 16 in practice.
"""

import math
from dataclasses import dataclass

from torch import nn

from minitl.errors import InputError

EMBEDDING = "lora_embedding_"  # how the tensors of an embedding's update are called, before A and B


@dataclass(frozen=True)
class LoraPlus:
    """Which tensor learns at which rate: the choice of the authors' code, and so of PEFT's.

        lora_A, and whole matrices such as a head's weight               the scheduled rate
        lora_B, and vectors: biases, norms, DoRA's lora_magnitude        `ratio` times that
        lora_embedding_A and lora_embedding_B                            a rate of their own, in the schedule's shape

    ratio            of B's rate to A's, at least 1; the scheduled rate, A's, is then best a little lower than without
    embedding_rate   peak of the schedule for the updates of embeddings

    Raises InputError on values that mean nothing.
    """

    ratio: float = 16.0
    embedding_rate: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("ratio", "embedding_rate"):
            if not isinstance(getattr(self, name), int | float):
                raise InputError(f"LoRA+: {name} must be a number, got {getattr(self, name)!r}")
        if not (math.isfinite(self.ratio) and self.ratio >= 1):
            raise InputError(f"LoRA+: ratio must be a finite number of at least 1, got {self.ratio!r}")
        if not (math.isfinite(self.embedding_rate) and self.embedding_rate > 0):
            raise InputError(f"LoRA+: embedding_rate must be a finite number above 0, got {self.embedding_rate!r}")

    def scale(self, name: str, parameter: nn.Parameter, learning_rate: float) -> float:
        """What the schedule of peak `learning_rate` is multiplied by for the parameter called `name`."""
        tensor = name.rpartition(".")[2]
        if tensor.startswith(EMBEDDING):
            return self.embedding_rate / learning_rate
        return self.ratio if tensor == "lora_B" or parameter.dim() == 1 else 1.0
