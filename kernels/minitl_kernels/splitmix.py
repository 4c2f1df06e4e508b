"""Random 64-bit words by counting, out of vector operations: word i of a seed is mix(start + i · γ).

    i · γ ─(+ start)─► ⊕ its top bits ─ · c₁ ─► ⊕ its top bits ─ · c₂ ─► ⊕ its top bits ─► word i

This is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 13, with the
constants of Stafford's variant 13), which passes BigCrush. Each word depends on nothing but its number, so all cores
draw at once, where PyTorch's generator for the processor draws one word after the other. Only operations that PyTorch
runs on whole vector registers are used.
"""

from functools import cache

import torch
from torch import Tensor

BLOCK = 1 << 19  # words made at a time: enough for many cores to share, few enough to stay in their caches
_GAMMA = 0x9E3779B97F4A7C15  # 2⁶⁴ over the golden ratio
_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))  # shift, then factor
_WORD = (1 << 64) - 1


def start_of(seed: int) -> int:
    """Where a seed's words begin: far from those of the next seed. Mixing maps 0 to 0, so γ is added first."""
    word = (seed + _GAMMA) & _WORD
    for shift, factor in _STEPS:
        word = (word ^ (word >> shift)) * factor & _WORD
    return word


def words(start: int, count: int) -> Tensor:
    """Words 0 … count - 1, int64 [count]."""
    out = torch.empty(count, dtype=torch.int64)
    spare = torch.empty(min(count, BLOCK), dtype=torch.int64)
    for first in range(0, count, BLOCK):
        block = out[first : first + BLOCK]
        torch.add(_multiples()[: len(block)], _signed(start + first * _GAMMA), out=block)
        _mix_(block, spare[: len(block)])
    return out


@cache
def _multiples() -> Tensor:
    return torch.arange(BLOCK) * _signed(_GAMMA)


def _mix_(word: Tensor, spare: Tensor) -> None:
    for shift, factor in _STEPS:
        # PyTorch shifts in copies of the sign, which are masked away.
        torch.bitwise_right_shift(word, shift, out=spare)
        word.bitwise_xor_(spare.bitwise_and_(_WORD >> shift))
        if factor != 1:
            word.mul_(_signed(factor))


def _signed(word: int) -> int:
    """The int64 of the same 64 bits."""
    return (word + (1 << 63)) % (1 << 64) - (1 << 63)
