"""How a product is cut into tiles: the sizes, in which order programs take them, and what fits a chip."""
from dataclasses import dataclass
import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class ProductConfig:
    """Rows, columns and depth of a tile, warps of a program, tiles in flight, rows of tiles in a group; by descriptors or
    by addresses; one tile a program or as many programs as multiprocessors."""

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    group: int = 8
    tma: bool = False
    persistent: bool = False

def default_product_config(x, w, y, padded):
    return ProductConfig(16,16,16,4,2)


@triton.jit
def tile_of(index, tiles_m, tiles_n, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """The tile [m, n] of a product that program `index` computes.

    Programs that run at the same time take GROUP rows of tiles, column by column: they share tiles of both operands,
    which so stay in the L2 cache.

        0 2 4 6        with GROUP = 2
        1 3 5 7
    """
    group = index // (GROUP * tiles_n)
    first = group * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    place = index % (GROUP * tiles_n)
    return first + place % height, place // height
