"""Relative positions as a bias on the scores: one number for each distance and head (Raffel et al. 2020,
arXiv:1910.10683, section 2.1).

Near distances have a bucket each, farther ones share buckets on a logarithmic scale, and the farthest share the last.
"""

import math

import torch
from torch import Tensor, nn

from minitl.nn.embeddings import Embedding


class RelativeBias(nn.Module):
    """The table of numbers.

    buckets         rows of the table; of a bidirectional one, half are for keys before the query, half for those after
    furthest        distances from this one on are alike
    bidirectional   whether keys after the query are told apart; in a causal model nobody sees them
    """

    def __init__(self, heads: int, buckets: int, furthest: int, bidirectional: bool) -> None:
        super().__init__()
        self.furthest, self.bidirectional = furthest, bidirectional
        self.table = Embedding(buckets, heads, "distance bucket")

    def forward(self, queries: int, keys: int) -> Tensor:
        """The bias [1 or batch, heads, queries, keys]; `queries` are the last positions of `keys`."""
        device = self.table.weight.device
        places = torch.arange(keys, device=device)
        bucket = self.bucket(places - places[keys - queries :, None])  # [query, key]
        # With a row for the batch: the table may be another one for each text.
        return self.table(bucket[None]).permute(0, 3, 1, 2)

    def bucket(self, distance: Tensor) -> Tensor:
        """The table's row for each `distance`, key - query."""
        buckets, first = self.table.num_embeddings, torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            first = (distance > 0) * buckets
            distance = distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        exact = buckets // 2
        rounds = (distance.clamp(min=1).float() / exact).log() / math.log(self.furthest / exact)
        shared = exact + (rounds * (buckets - exact)).long()
        return first + torch.where(distance < exact, distance, shared.clamp(max=buckets - 1))
