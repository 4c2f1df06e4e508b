"""Which gradients a backward pass is asked for."""

from typing import NamedTuple


class Needs(NamedTuple):
    """One truth value for each differentiable input of `lora_linear`; what is not needed is not computed."""

    x: bool
    lora_a: bool
    lora_b: bool
    bias: bool
