"""Rotary position embeddings: queries and keys are turned by an angle that grows with their position."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from minitl.errors import ConfigError


class RotaryPositions(nn.Module):
    """cos and sin tables for `rotate` (Su et al. 2021, section 3.2.2), in the half-split layout of published weights.

    head_dim   size of one head, even
    theta      the base: pair j of a head turns by position · theta^(-2j/head_dim)
    scaling    config.json's `rope_scaling`: None, or {"rope_type": "linear" | "llama3", ...}
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
    """Radians per position for each pair, [head_dim / 2], float32; ConfigError for a scaling that is not known."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
    frequencies = 1.0 / theta ** (pairs / head_dim)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    try:
        if kind == "default":
            return frequencies
        if kind == "linear":
            return frequencies / scaling["factor"]
        if kind == "llama3":
            return _llama3_frequencies(
                frequencies,
                scaling["factor"],
                scaling["low_freq_factor"],
                scaling["high_freq_factor"],
                scaling["original_max_position_embeddings"],
            )
    except KeyError as error:
        raise ConfigError(f"config.json: rope_scaling of type {kind!r} lacks the field {error}") from error
    raise ConfigError(f"config.json: unknown rope_scaling type {kind!r}; known: default, linear, llama3")


def _llama3_frequencies(frequencies: Tensor, factor: float, low: float, high: float, original_length: int) -> Tensor:
    """Llama 3.1's context extension: slow turns are slowed further by `factor`, fast turns stay, between them a ramp.

    A turn is slow if it completes fewer than `low` rounds within the original context, fast if more than `high`
    (Llama 3 report, Dubey et al. 2024, section 3.4.2 names the idea; the formula is that of the released code).
    """
    rounds = original_length * frequencies / (2 * math.pi)
    keep = ((rounds - low) / (high - low)).clamp(0, 1)  # 0 = slow: divide by factor; 1 = fast: leave
    return keep * frequencies + (1 - keep) * frequencies / factor
