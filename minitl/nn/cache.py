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
        self.keys, self.values = (_selected(stored, rows, self.length) for stored in (self.keys, self.values))


class SlidingLayerCache(LayerCache):
    """The last positions alone, for layers whose tokens look back over a window (Jiang et al. 2023, section 2).

    A text of any length fits. When the tensors are full, the `window` - 1 positions that are still in sight move to
    their beginning. The tensors have an eighth of a window to spare, so that each token pays for moving eight positions
    while its attention reads a whole window. For that, positions stay in the order of the text and are views, where in
    a ring, which moves nothing, the masks of padding and of longer chunks would have to turn with it.
    """

    def __init__(self, shape: tuple[int, int, int, int], window: int, dtype: torch.dtype, device: torch.device) -> None:
        batch, kv_heads, _, head_dim = shape
        super().__init__((batch, kv_heads, window + window // 8, head_dim), dtype, device)
        self.window = window
        self._end = 0  # where in the tensors the stored positions end

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store `keys` and `values` [batch, kv_heads, new, head_dim]; return them behind the `window` - 1 before."""
        new, room = keys.shape[2], self.keys.shape[2]
        kept = min(self.length, self.window - 1)
        self.length += new
        if kept + new > room:  # a chunk that does not fit is looked at where it stands, and only its end is stored
            keys, values = (torch.cat(pair, dim=2) for pair in zip(self._last(kept), (keys, values), strict=True))
            self._restart(keys[:, :, kept + new - self.window + 1 :], values[:, :, kept + new - self.window + 1 :])
            return keys, values
        if self._end + new > room:
            self._restart(*(stored.clone() for stored in self._last(kept)))  # the two places may overlap
        self.keys[:, :, self._end : self._end + new] = keys
        self.values[:, :, self._end : self._end + new] = values
        self._end += new
        return self._last(kept + new)

    def select(self, rows: Tensor) -> None:
        self.keys, self.values = (_selected(stored, rows, self._end) for stored in (self.keys, self.values))

    def _last(self, count: int) -> tuple[Tensor, Tensor]:
        stored = slice(self._end - count, self._end)
        return self.keys[:, :, stored], self.values[:, :, stored]

    def _restart(self, keys: Tensor, values: Tensor) -> None:
        self._end = keys.shape[2]
        self.keys[:, :, : self._end] = keys
        self.values[:, :, : self._end] = values


class KeyValueCache:
    """A layer cache per layer. `length` is the number of positions read so far.

    capacity   the longest text, in positions
    window     how many positions a token sees, itself included; None = all. Of a longer text, only those are kept.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        window: int | None = None,
    ) -> None:
        shape = (batch, kv_heads, capacity, head_dim)
        self.layers: list[LayerCache]
        if window is None or capacity <= window:
            self.layers = [LayerCache(shape, dtype, device) for _ in range(layers)]
        else:
            self.layers = [SlidingLayerCache(shape, window, dtype, device) for _ in range(layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def batch(self) -> int:
        """How many texts it holds."""
        return len(self.layers[0].keys)

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
