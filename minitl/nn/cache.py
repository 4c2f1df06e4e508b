"""Keys and values of the tokens already read, so that each new token costs one position, not the whole text."""

import torch
from torch import Tensor

from minitl.errors import InputError


class LayerCache:
    """One layer's keys and values in tensors of fixed size [batch, kv_heads, capacity, head_dim], filled in place."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store `keys` and `values` [batch, kv_heads, new, head_dim]; return views of all that is stored so far."""
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise InputError(f"the key-value cache holds {self.keys.shape[2]} positions; {end} are needed")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Go on with the texts `rows` [batch] of this cache, some of them several times, others not at all."""
        self.keys = _selected(self.keys, rows, self.length)
        self.values = _selected(self.values, rows, self.length)


class KeyValueCache:
    """A `LayerCache` per layer. `length` is the number of positions stored."""

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (batch, kv_heads, capacity, head_dim)
        self.layers = [LayerCache(shape, dtype, device) for _ in range(layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    def select(self, rows: Tensor) -> None:
        """Go on with the texts `rows`, integers [batch]: which text of this cache each text to come continues."""
        for layer in self.layers:
            layer.select(rows)


class SourceCache:
    """One decoder layer's keys and values of the source, each [batch, heads, source, head_dim], once it has read it."""

    def __init__(self) -> None:
        self.content: tuple[Tensor, Tensor] | None = None


def _selected(stored: Tensor, rows: Tensor, length: int) -> Tensor:
    """The `rows` of `stored`, of which `length` positions count: in place where their number stays."""
    chosen = stored[:, :, :length].index_select(0, rows)
    if len(rows) != len(stored):
        stored = stored.new_empty(len(rows), *stored.shape[1:])
    stored[:, :, :length] = chosen
    return stored
