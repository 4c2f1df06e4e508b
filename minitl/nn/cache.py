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
