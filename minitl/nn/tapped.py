"""Points in a forward pass that a trace may look at, and change (`minitl.trace`).

    x = self.tap("residual.mid", x + attended)        x itself, unless somebody watches this point of this module

What a module computes between its submodules has no name of its own. Where it is worth one, a line says so; with nobody
watching it costs a look into an empty mapping.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

Watcher = Callable[[Tensor], Tensor]  # gets a point's tensor, and gives the one to go on with


class Tapped(nn.Module):
    """A module with such points.

    points     their names within the module
    watchers   who watches which of them; a trace sets it, and takes it back
    """

    points: ClassVar[tuple[str, ...]] = ()
    watchers: Mapping[str, Watcher] = {}

    def tap(self, point: str, x: Tensor) -> Tensor:
        """`x`, or what a watcher of `point` makes of it."""
        watcher = self.watchers.get(point)
        return x if watcher is None else watcher(x)


class TappedBlock(Tapped):
    """A transformer layer, of which the residual stream is shown where it comes in, between the parts, and at the end.

    A post-norm family carries its stream normed, and so is it shown; a pre-norm family's is the plain sum.
    """

    points = ("residual.pre", "residual.mid", "residual.post")


class TappedDecoderBlock(Tapped):
    """The same with cross-attention, which comes after `residual.mid` and leads to `residual.crossed`."""

    points = ("residual.pre", "residual.mid", "residual.crossed", "residual.post")
