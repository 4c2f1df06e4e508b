"""Several low-rank updates of one linear layer, as the paths of `lora_linear_multi` are handed them."""

from typing import NamedTuple

import torch
from torch import Tensor

from minitl_kernels.lora.mask import draw_keep, keep_scale


class Adapters(NamedTuple):
    """One entry an adapter: A [r, in], B [out, r], s, and the dropout threshold; the ranks may differ."""

    lora_as: list[Tensor]
    lora_bs: list[Tensor]
    scalings: list[float]
    thresholds: list[int]

    @property
    def ranks(self) -> list[int]:
        return [lora_a.shape[0] for lora_a in self.lora_as]

    @property
    def keep_scales(self) -> list[float]:
        return [keep_scale(threshold) for threshold in self.thresholds]


def draw_mixed_keep(seed: Tensor | None, ids: Tensor, columns: int, thresholds: list[int]) -> Tensor | None:
    """The mask [M, columns] whose row m is that of `lora_linear` with the threshold of the row's adapter; or None.

    ids [M] is each row's adapter. Rows of no adapter hold anything; None stands for a mask that keeps all.
    """
    drawn: Tensor | None = None
    for threshold in sorted(set(thresholds) - {0}):
        assert seed is not None
        keep = draw_keep(seed, ids.shape[0], columns, threshold)
        if len(set(thresholds)) == 1:
            return keep
        for adapter in (i for i, other in enumerate(thresholds) if other == threshold):
            drawn = torch.ones_like(keep) if drawn is None else drawn
            drawn = torch.where((ids == adapter)[:, None], keep, drawn)
    return drawn


def masked(x: Tensor, keep: Tensor | None) -> Tensor:
    """x with zeros where `keep` is False; x itself where there is no mask."""
    # A processor turns bytes into floats three times as fast as booleans.
    return x if keep is None else keep.view(torch.uint8).to(x.dtype).mul_(x)
