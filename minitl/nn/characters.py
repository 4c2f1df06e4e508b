"""A word's vector from its characters: convolutions, highways and a projection (Kim et al. 2016, arXiv:1508.06615).

    characters ─ embed ─┬─ width 1 ─ max over places ─┐
                        ├─ width 2 ─ max over places ─┼─ join ─ highways ─ projection ─► word
                        └─ …                          ┘

There is no word that it does not know.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minitl.nn.activations import Activation
from minitl.nn.embeddings import Embedding


class Highway(nn.Module):
    """gate · relu(transform(x)) + (1 - gate) · x  (Srivastava et al. 2015, arXiv:1505.00387, equation 3)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(size, size)
        self.transform = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:  # [..., size] -> [..., size]
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class CharacterEncoder(nn.Module):
    """Character ids [..., characters] -> word vectors [..., output].

    characters   rows of the character embedding; id 0 is no character, and its vector stays 0
    filters      (width in characters, number of filters) of each convolution; ids have at least the largest width
    """

    def __init__(
        self,
        characters: int,
        size: int,
        filters: Sequence[tuple[int, int]],
        highways: int,
        output: int,
        act: Activation,
    ) -> None:
        super().__init__()
        joined = sum(count for _, count in filters)
        self.character = Embedding(characters, size, "character id", padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, count, width) for width, count in filters)
        self.act = act
        self.highways = nn.Sequential(*(Highway(joined) for _ in range(highways)))
        self.projection = nn.Linear(joined, output) if joined != output else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.character(ids.flatten(0, -2)).transpose(1, 2)  # [words, size, characters]
        found = [self.act(convolution(x).amax(-1)) for convolution in self.convolutions]  # each [words, count]
        x = self.projection(self.highways(torch.cat(found, dim=-1)))  # [words, output]
        return x.unflatten(0, ids.shape[:-1])
