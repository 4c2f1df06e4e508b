"""Disentangled attention: content and distance are kept apart and scored apart (He et al. 2021, arXiv:2006.03654;
the distances in logarithmic buckets: He et al. 2023, arXiv:2111.09543).

    score(i, j) = ( Qc[i] · Kc[j]  +  Qc[i] · Kr[δ(i,j)]  +  Kc[j] · Qr[δ(i,j)] ) / sqrt(3 · head_dim)    (equation 4)
                    content to        content to             position to
                    content           position: "c2p"        content: "p2c"

Qc and Kc are made from the tokens, Qr and Kr from a table with one row for each distance δ, which all layers share.
Both are multiplied with every row, [batch, heads, length, distances]; `gather` then picks for each pair of tokens the
score of its distance. (The paper writes δ(j,i) in the last term; the published weights were trained with δ(i,j).)
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minitl.nn.attention import Attending
from minitl.nn.dropout import Dropout
from minitl.nn.masks import Mask


@dataclass(frozen=True)
class Distances:
    """What a layer must know of the distances in texts of one length.

    rows    [1 or batch, distances, hidden]   an embedding for each distance that occurs, from the table
    index   [query, key]                      which of `rows` is that of a pair
    """

    rows: Tensor
    index: Tensor


class RelativePositions(nn.Module):
    """The table of distance embeddings.

    furthest   distances from this one on are alike
    buckets    how many rows a direction has: distances up to half of them have one each, further ones share them on a
               logarithmic scale; None = one row for every distance up to `furthest`
    norm       normalises the table's rows (an Identity where the checkpoint has none)
    """

    def __init__(self, hidden: int, furthest: int, buckets: int | None, norm: nn.Module) -> None:
        super().__init__()
        self.furthest, self.buckets = furthest, buckets
        self.span = buckets or furthest
        self.table = nn.Embedding(2 * self.span, hidden)
        self.norm = norm
        # A plain attribute, not a buffer: it follows from the config; no file holds it, no meta device empties it.
        self._rows = self._row_of(torch.arange(-furthest, furthest + 1, device="cpu"))
        self._latest: tuple[int, torch.device, Tensor, slice] | None = None

    def forward(self, length: int) -> Distances:
        """The distances of texts of `length` tokens. Only those rows that occur in them are computed with."""
        device = self.table.weight.device
        if torch.compiler.is_compiling():  # one graph for texts of all lengths: with every row
            rows = self._rows_between(length).to(device)
            return Distances(self.norm(self.table.weight[None]), rows[_pairs(length, device)])
        index, used = self._places(length, device)
        return Distances(self.norm(self.table.weight[None, used]), index)

    def _places(self, length: int, device: torch.device) -> tuple[Tensor, slice]:
        """`Distances.index`, and which rows of the table it counts; kept for the next text of the same length."""
        if self._latest is None or self._latest[:2] != (length, device):
            with torch.inference_mode(False):  # else nothing could be trained with what an inference has left here
                row = self._rows_between(length)
                first, last = int(row[0]), int(row[-1])
                index = (row - first).to(device)[_pairs(length, device)]
                self._latest = length, device, index, slice(first, last + 1)
        return self._latest[2:]

    def _rows_between(self, length: int) -> Tensor:
        """The table's rows for the distances within texts of `length` tokens, [2 · length - 1], ascending."""
        distances = torch.arange(1 - length, length, device="cpu")
        return self._rows[distances.clamp(-self.furthest, self.furthest) + self.furthest]

    def _row_of(self, distance: Tensor) -> Tensor:
        """The table's row for each `distance`, query - key, of either sign."""
        if self.buckets is not None:
            middle = self.buckets // 2
            far = distance.abs().clamp(min=middle) / middle  # float32 on the CPU: everywhere the same buckets
            longest = torch.tensor((self.furthest - 1) / middle, device="cpu")
            bucket = torch.ceil(far.log() / longest.log() * (middle - 1)).long() + middle
            distance = torch.where(distance.abs() <= middle, distance, bucket * distance.sign())
        return (distance + self.span).clamp(0, 2 * self.span - 1)


def _pairs(length: int, device: torch.device) -> Tensor:
    """Where in a list of all distances, 1 - length first, that of each pair of tokens stands: [query, key]."""
    steps = torch.arange(length, device=device)
    return steps[:, None] - steps + length - 1


class DisentangledSelfAttention(Attending):
    """Self-attention over content and distance.

    terms         "c2p", "p2c", both, or none: then this is plain self-attention
    shared        whether Qr and Kr are made by the content's own projections, or by two of their own
    row_dropout   of the distance embeddings, anew in each layer
    """

    def __init__(
        self, hidden: int, heads: int, dropout_p: float, terms: Collection[str], shared: bool, row_dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.dropout_p, self.terms = heads, dropout_p, frozenset(terms)
        self.query_scale = 1 / math.sqrt((1 + len(self.terms)) * (hidden // heads))
        self.scale = 1.0  # the queries are scaled before they are scored
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.position_key = nn.Linear(hidden, hidden) if "c2p" in self.terms and not shared else None
        self.position_query = nn.Linear(hidden, hidden) if "p2c" in self.terms and not shared else None
        self.row_dropout = Dropout(row_dropout)

    def forward(
        self, x: Tensor, mask: Mask, want_weights: bool = False, distances: Distances | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x [batch, length, hidden] -> the same shape, and the attention map [batch, heads, query, key] if wanted."""
        query = self.tap("query_heads", self._split(self.query(x)) * self.query_scale)  # [batch, heads, length, ...]
        key, value = (
            self.tap("key_heads", self._split(self.key(x))),
            self.tap("value_heads", self._split(self.value(x))),
        )
        if distances is not None:
            mask = mask.with_bias(self._bias(query, key, distances))
        context, weights = self.look(query, key, value, mask, want_weights)
        return self.output(context.transpose(1, 2).flatten(2)), weights

    def _bias(self, query: Tensor, key: Tensor, distances: Distances) -> Tensor:
        """c2p + p2c, scaled as `query` is: [batch, heads, query, key]."""
        rows, index = self.row_dropout(distances.rows), distances.index.expand(*query.shape[:2], -1, -1)
        parts = []
        if "c2p" in self.terms:
            row_keys = self._split((self.position_key or self.key)(rows))  # [1 or batch, heads, distances, head_dim]
            parts.append((query @ row_keys.transpose(-1, -2)).gather(-1, index))
        if "p2c" in self.terms:
            row_queries = self._split((self.position_query or self.query)(rows)) * self.query_scale
            by_key = (key @ row_queries.transpose(-1, -2)).gather(-1, index.transpose(-1, -2))  # [..., key, query]
            parts.append(by_key.transpose(-1, -2))
        return sum(parts[1:], parts[0])

    def _split(self, x: Tensor) -> Tensor:  # [..., length, hidden] -> [..., heads, length, head_dim]
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
