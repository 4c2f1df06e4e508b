"""What passes between the operator and its paths: its inputs, which gradients are asked for, and what comes back."""

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """One call of `lora_linear`, checked. x, W and b have one type, A and B that one or float32."""

    x: Tensor  # [M, K]
    weight: Tensor  # [N, K]
    bias: Tensor | None  # [N]; a backward pass does without
    lora_a: Tensor  # [r, K]
    lora_b: Tensor  # [N, r]
    scaling: float
    threshold: int  # the draws of 16 bits below which dropout drops, see mask.py; 0 = no dropout
    seed: Tensor | None  # of the mask; None without one, and in a backward pass, for which its bits were kept

    @property
    def rank(self) -> int:
        return self.lora_a.shape[0]


class Needs(NamedTuple):
    """One truth value for each differentiable input of `lora_linear`; what is not needed is not computed."""

    x: bool
    lora_a: bool
    lora_b: bool
    bias: bool


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  # in the order of `Needs`
Shape = tuple[int, ...]
