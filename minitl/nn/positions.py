"""Rotary position embeddings: queries and keys are turned by an angle that grows with their position."""

import math
from typing import Any

import torch
from torch import Tensor, nn

# What config.json's `rope_scaling` may name as its type, and the numbers above 0 that each type needs.
SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


class RotaryPositions(nn.Module):
    """cos and sin tables for `rotate` (Su et al. 2021, section 3.2.2), in the half-split layout of published weights.

    head_dim   size of one head, even
    theta      the base: pair j of a head turns by position · theta^(-2j/head_dim)
    scaling    config.json's `rope_scaling`: None, or {"rope_type": one of SCALINGS, ...}, checked by the configuration
    """

    def __init__(self, head_dim: int, theta: float, scaling: dict[str, Any] | None = None) -> None:
        super().__init__()
        # A plain attribute, not a buffer: it follows from the config; no file holds it, no meta device empties it.
        self._frequencies = rotary_frequencies(head_dim, theta, scaling or {})

    def forward(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """position_ids [batch or 1, length] -> cos, sin, each [batch or 1, 1, length, head_dim]."""
        self._frequencies = self._frequencies.to(position_ids.device)
        # Angles in float32: in half precision, positions above 256 would fall together.
        angles = position_ids[..., None].float() * self._frequencies  # [batch or 1, length, head_dim / 2]
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x [batch, heads, length, head_dim] by the angles of `RotaryPositions`."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def rotary_frequencies(head_dim: int, theta: float, scaling: dict[str, Any]) -> Tensor:
    """Radians per position for each pair, [head_dim / 2], float32."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
    frequencies = 1.0 / theta ** (pairs / head_dim)
    kind = scaling_type(scaling)
    if kind == "default":
        return frequencies
    numbers = [scaling[name] for name in SCALINGS[kind]]
    return frequencies / numbers[0] if kind == "linear" else _llama3_frequencies(frequencies, *numbers)


def scaling_type(scaling: dict[str, Any]) -> Any:
    """What a `rope_scaling` names as its type; older files say "type" for "rope_type"."""
    return scaling.get("rope_type", scaling.get("type", "default"))


def _llama3_frequencies(frequencies: Tensor, factor: float, low: float, high: float, original_length: int) -> Tensor:
    """Llama 3.1's context extension: slow turns are slowed further by `factor`, fast turns stay, between them a ramp.

    A turn is slow if it completes fewer than `low` rounds within the original context, fast if more than `high`
    (Llama 3 report, Dubey et al. 2024, section 3.4.2 names the idea; the formula is that of the released code).
    """
    rounds = original_length * frequencies / (2 * math.pi)
    keep = ((rounds - low) / (high - low)).clamp(0, 1)  # 0 = slow: divide by factor; 1 = fast: leave
    return keep * frequencies + (1 - keep) * frequencies / factor
