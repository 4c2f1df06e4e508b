"""Absolute positions: a vector for each place in a text, added to the token's (Vaswani et al. 2017, section 3.5).

Each class takes positions, integers [batch or 1, length] counted from 0, and returns [batch or 1, length, hidden].
The waves are those of the paper in another order: the sines stand in the first half of a vector, the cosines in the
second, where the paper has them in turns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitl.errors import InputError
from minitl.nn.embeddings import Embedding


class LearnedPositions(Embedding):
    """A table that was learned. fairseq numbers the first token padding's id + 1, which was 2: rows 0 and 1 of its
    published tables are never read.

    InputError for a text that is longer than `limit` tokens.
    """

    UNREAD = 2

    def __init__(self, limit: int, hidden: int) -> None:
        super().__init__(limit + self.UNREAD, hidden, "position")
        self.limit = limit

    def forward(self, positions: Tensor) -> Tensor:
        try:
            return self.look_up(positions + self.UNREAD)
        except IndexError as error:
            raise _too_long(positions, self.limit) from error


class StoredSinusoids(nn.Module):
    """A table of waves that files hold as if it had been learned: pair i has the wavelength 2π · 10000^(2i/hidden).

    It is a buffer, and never trained. InputError for a text that is longer than `limit` tokens.
    """

    weight: Tensor

    def __init__(self, limit: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(limit, hidden))

    @torch.no_grad()
    def fill(self) -> None:
        """Make the table, whose content follows from its shape."""
        limit, hidden = self.weight.shape
        pairs = torch.arange(0, hidden, 2, dtype=torch.float64, device="cpu")
        places = torch.arange(limit, dtype=torch.float64, device="cpu")
        self.weight.copy_(_waves(places, 10000.0 ** (-pairs / hidden), hidden))

    def forward(self, positions: Tensor) -> Tensor:
        return _look_up(self.weight, positions)


class Sinusoids(nn.Module):
    """Waves for texts of any length: of h = hidden // 2 pairs, pair i has the wavelength 2π · 10000^(i/(h-1)).

    first   the number of a text's first token
    """

    def __init__(self, hidden: int, first: int) -> None:
        super().__init__()
        self.hidden, self.first = hidden, first
        half = hidden // 2
        # A plain attribute, not a buffer: it follows from the config; no file holds it, no meta device empties it.
        pairs = torch.arange(half, dtype=torch.float32, device="cpu")
        self._frequencies = torch.exp(pairs * -(math.log(10000) / (half - 1)))

    def forward(self, positions: Tensor) -> Tensor:
        self._frequencies = self._frequencies.to(positions.device)
        # In float32: in half precision, positions above 256 would fall together.
        return _waves((positions + self.first).float(), self._frequencies, self.hidden)


def _waves(positions: Tensor, frequencies: Tensor, hidden: int) -> Tensor:
    """sin and cos of each position times each frequency, [..., hidden]; of an odd size, one column has no partner."""
    angles = positions[..., None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=-1)
    return F.pad(waves, (0, hidden - waves.shape[-1])) if waves.shape[-1] < hidden else waves[..., :hidden]


def _look_up(table: Tensor, positions: Tensor) -> Tensor:
    """The rows `positions` of `table` [limit, hidden]. (On a GPU, CUDA's own assertion stands instead of the error.)"""
    try:
        return F.embedding(positions, table)
    except IndexError as error:
        raise _too_long(positions, len(table)) from error


def _too_long(positions: Tensor, limit: int) -> InputError:
    return InputError(f"a text of {int(positions.max()) + 1} tokens is too long: this model has positions for {limit}")
