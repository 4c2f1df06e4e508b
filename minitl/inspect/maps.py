"""What attention maps come to over several layers."""

from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(maps: Sequence[Tensor]) -> list[Tensor]:
    """How much of each token's first vector is in each token's vector after 1, 2, … layers (Abnar & Zuidema 2020,
    section 3): the product of the maps, each averaged over its heads and with the residual stream's own half.

    maps   of each layer [heads, query, key], bottom first, rows that sum to 1
    Returns as many [query, key], whose rows sum to 1.
    """
    flowed: list[Tensor] = []
    for weights in maps:
        own = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
        layer = (weights.mean(0) + own) / 2
        flowed.append(layer @ flowed[-1] if flowed else layer)
    return flowed
