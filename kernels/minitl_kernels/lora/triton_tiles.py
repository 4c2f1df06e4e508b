"""How a product is cut into tiles: their sizes, which of them a chip can run, and in which order programs take them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import Chip, aligned, chip_of, dot_precision, pieces, vectorised
from minitl_kernels.lora.triton_epilogue import WIDEST


@dataclass(frozen=True)
class ProductConfig:
    """A tile's rows, columns and depth; a program's warps and tiles in flight; rows of tiles in a group; whether tiles
    are fetched by descriptors (TMA), and whether as many programs as multiprocessors share them (persistent)."""

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    group: int = 8
    tma: bool = False
    persistent: bool = False


# Largest tiles first. Others were compiled and dropped, as they spilled registers on one chip or another.
HALF = (
    ProductConfig(128, 256, 64, 8, 3, tma=True),
    ProductConfig(128, 256, 64, 8, 3, tma=True, persistent=True),
    ProductConfig(256, 128, 64, 8, 3, tma=True),
    ProductConfig(128, 256, 32, 8, 4),
    ProductConfig(128, 128, 64, 8, 4, tma=True, persistent=True),
    ProductConfig(128, 128, 64, 4, 4, tma=True),
    ProductConfig(128, 128, 64, 8, 3),
    ProductConfig(64, 128, 64, 4, 4, tma=True),
    ProductConfig(64, 128, 32, 4, 4),
    ProductConfig(64, 64, 64, 4, 4),
    ProductConfig(64, 64, 32, 4, 3),
    ProductConfig(32, 64, 128, 4, 3, tma=True),
    ProductConfig(16, 64, 128, 4, 4, tma=True),
    ProductConfig(16, 64, 128, 4, 4),
    ProductConfig(16, 64, 64, 4, 4),
)
TF32 = (
    ProductConfig(128, 128, 32, 8, 3, tma=True),
    ProductConfig(128, 128, 32, 8, 3),
    ProductConfig(64, 64, 32, 4, 3),
    ProductConfig(16, 64, 32, 4, 3),
)
FLOAT32 = (  # without tensor cores every product is written out: small tiles, or the registers run out
    ProductConfig(64, 64, 16, 4, 3),
    ProductConfig(32, 64, 32, 8, 3),
    ProductConfig(16, 64, 32, 4, 3),
)

_MOST_ADDRESSES = 5120  # elements of a program's tiles, where each needs two registers for its address: more spilled


def product_configs(
    dtype: torch.dtype, precision: str, rank: int, chip: Chip, wide: bool, described: bool, single: bool = False
) -> Iterator[ProductConfig]:
    """The configurations that `chip` can run.

    wide       whether the matrices are `vectorised`: where each element has an address of its own, tiles are small
    described  whether they are `aligned`, as descriptors want them
    single     whether S is computed in the loop
    """
    tables = {"tf32": TF32, "ieee": FLOAT32 if dtype == torch.float32 else HALF}
    if single and padded_rank(rank) > WIDEST:
        return
    crowded = single and chip.capability < 90  # operands and both accumulators share the registers
    for config in tables[precision]:
        doubled = chip.tensor_memory and (single or config.persistent)  # a second accumulator in tensor memory
        if (crowded or doubled) and config.block_m * config.block_n > 128 * 128:
            continue
        if not (config.tma or wide) and (config.block_m + config.block_n) * config.block_k > _MOST_ADDRESSES:
            continue
        if ((chip.tma and described) or not config.tma) and shared_bytes(
            config, dtype.itemsize, rank, single
        ) <= chip.shared:
            yield config


def shared_bytes(config: ProductConfig, itemsize: int, rank: int, single: bool) -> int:
    """An upper bound of the shared memory that a program needs, with A and B in float32."""
    m, n, k, low = config.block_m, config.block_n, config.block_k, padded_rank(rank)
    loop = config.stages * (m + n) * k * itemsize
    if single:
        loop += config.stages * low * k * 4 + low * k * itemsize
    epilogue = (m + n) * min(low, WIDEST) * itemsize
    if config.tma:  # y, and S with it, leave through shared memory of their own; so come S and B in a loop over tiles
        out = m * (n + low if single else n) * itemsize
        return loop + out + (epilogue if config.persistent else 0) + 256
    return max(loop, m * n * 4, epilogue) + 256


def default_product_config(
    x: Tensor, weight: Tensor, y: Tensor, rank: int, lora_a: Tensor | None = None
) -> ProductConfig:
    """A rule for a chip that was never timed: the largest tiles of which there are enough for all multiprocessors.

    With lora_a for the single kernel, without for the product with S at hand.
    """
    matrices = [matrix for matrix in (x, weight, y, lora_a) if matrix is not None]
    wide, described = vectorised(*matrices), all(aligned(matrix) for matrix in matrices)
    m, n = y.shape
    return _rule(m, n, x.dtype, dot_precision(x.dtype), rank, chip_of(x.device), wide, described, lora_a is not None)


@lru_cache(maxsize=4096)
def _rule(
    m: int, n: int, dtype: torch.dtype, precision: str, rank: int, chip: Chip, wide: bool, described: bool, single: bool
) -> ProductConfig:
    usable = list(product_configs(dtype, precision, rank, chip, wide, described, single))
    for config in usable:
        tiles = pieces(m, config.block_m) * pieces(n, config.block_n)
        if config.block_m < 2 * max(m, 16) and tiles >= chip.multiprocessors:
            return config
    return usable[-1]


@triton.jit
def tile_of(index, tiles_m, tiles_n, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """The tile [m, n] of a product that is number `index` in the order in which programs take them.

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
