"""S = keep_scale · (mask ∘ x) Aᵀ in one pass over x, the mask drawn on the way and stored as bits.

            K
      ┌───────────┐ Aᵀ            a program takes BLOCK_M rows of x and one of `splits` ranges of K
    M │ x ∘ mask  │ ► S [M, R]    the mask of each tile is drawn once, in registers, and leaves as one bit an element
      └───────────┘               more than one range: float32 parts [splits, M, R], added in a fixed order

R is the padded rank; columns of S from r on are zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.mask import keep_scale
from minitl_kernels.lora.philox import GROUP
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_common import Chip, chip_of, dot_precision, in_eights, pieces, vectorised
from minitl_kernels.lora.triton_mask import keep_bytes, keep_where
from minitl_kernels.lora.triton_parts import Sum, add_parts


@dataclass(frozen=True)
class ShrinkConfig:
    """How the work is cut: rows and columns of x in a tile, ranges of K, warps of a program, tiles in flight."""

    block_m: int
    block_k: int
    splits: int
    warps: int
    stages: int


# Many rows first. A tile of A, in float32, has R rows: with larger ranks it is shorter.
CONFIGS = (
    ShrinkConfig(64, 128, 1, 8, 3),
    ShrinkConfig(64, 64, 1, 4, 4),
    ShrinkConfig(32, 128, 1, 4, 4),
    ShrinkConfig(32, 64, 1, 4, 3),
    ShrinkConfig(32, 32, 1, 8, 3),
    ShrinkConfig(16, 128, 1, 4, 3),
    ShrinkConfig(16, 64, 1, 4, 3),
    ShrinkConfig(16, 32, 1, 8, 3),
)
_MOST_SPLITS = 32


def shrink_configs(m: int, k: int, dtype: torch.dtype, rank: int, wide: bool, chip: Chip) -> Iterator[ShrinkConfig]:
    """The configurations that `chip` can run, each with as many ranges of K as fill the chip where M alone does not.

    `wide` where x and A are `vectorised`; an address for each element of x takes registers, and large tiles spill.
    """
    padded = padded_rank(rank)
    usable = []
    for config in CONFIGS:
        elements = (config.block_m + padded) * config.block_k
        registers = elements // (32 * config.warps) * (2 if dtype == torch.float32 else 1)
        crowded = not wide or (chip.tensor_memory and padded >= 64)
        if crowded and elements > 36 * 32 * config.warps:
            continue
        if chip.tensor_memory and config.block_m >= 64:
            continue  # accumulators in tensor memory want the mask in another layout: it would be drawn four times
        if registers <= 72:
            usable.append(replace(config, splits=_splits(m, k, config, chip)))
    fitting = [config for config in usable if shared_bytes(config, dtype.itemsize, rank) <= chip.shared]
    yield from fitting or usable[-1:]  # the bound is far from reached by the smallest


def _splits(m: int, k: int, config: ShrinkConfig, chip: Chip) -> int:
    """A power of two, so that all multiprocessors have work and each at least four tiles."""
    wanted = min(chip.multiprocessors // pieces(m, config.block_m), k // (4 * config.block_k), _MOST_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1)


def shared_bytes(config: ShrinkConfig, itemsize: int, rank: int) -> int:
    """An upper bound of the shared memory that a program needs, with A in float32."""
    x_tile, a_tile = config.block_m * config.block_k, padded_rank(rank) * config.block_k
    return (config.stages + 1) * x_tile * itemsize + a_tile * (config.stages * 4 + itemsize) + 4096


def default_shrink_config(x: Tensor, lora_a: Tensor) -> ShrinkConfig:
    """A rule for a chip that was never timed: the first that has as many programs as there are multiprocessors."""
    m, k = x.shape
    return _rule(m, k, x.dtype, lora_a.shape[0], vectorised(x, lora_a), chip_of(x.device))


@lru_cache(maxsize=4096)
def _rule(m: int, k: int, dtype: torch.dtype, rank: int, wide: bool, chip: Chip) -> ShrinkConfig:
    usable = list(shrink_configs(m, k, dtype, rank, wide, chip))
    for config in usable:
        programs = pieces(m, config.block_m) * config.splits
        if config.block_m < 2 * max(m, 16) and programs >= chip.multiprocessors:
            return config
    return usable[-1]


@triton.jit(do_not_specialize=["M", "threshold", "scale"])
def _shrink_kernel(  # type: ignore[no-untyped-def]
    x, a, seed, s, bits, M, K, rank, span, threshold, scale,
    x_stride_m, x_stride_k, a_stride_r, a_stride_k,
    R: tl.constexpr, DROPOUT: tl.constexpr, EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
    EIGHTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    GROUPS: tl.constexpr = BLOCK_K // 8
    K, x_stride_m, a_stride_r = in_eights(K, EIGHTS), in_eights(x_stride_m, EIGHTS), in_eights(a_stride_r, EIGHTS)
    start = tl.program_id(1) * span
    stop = tl.minimum(start + span, K)
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = start + tl.arange(0, BLOCK_K)
    ranks = tl.arange(0, R)
    x_tile = x + rows[:, None] * x_stride_m + columns[None, :].to(tl.int64) * x_stride_k
    a_tile = a + ranks[:, None] * a_stride_r + columns[None, :] * a_stride_k
    x_step = tl.full((), BLOCK_K, tl.int64) * x_stride_k
    row_groups = tl.cdiv(K, 8)
    key = tl.load(seed) if DROPOUT else 0

    total = tl.zeros((BLOCK_M, R), tl.float32)
    for k in range(start, stop, BLOCK_K):
        inside = (k + tl.arange(0, BLOCK_K) < K)[None, :]
        x_mask = (rows < M)[:, None] if EVEN_K else (rows < M)[:, None] & inside
        a_mask = (ranks < rank)[:, None] if EVEN_K else (ranks < rank)[:, None] & inside
        tile = tl.load(x_tile, x_mask, 0.0)
        down = tl.load(a_tile, a_mask, 0.0).to(tile.dtype)
        if DROPOUT:
            groups = k // 8 + tl.arange(0, GROUPS)
            keep = keep_bytes(key, rows, groups, row_groups, threshold)
            stored = (rows < M)[:, None] & (groups < row_groups)[None, :]
            tl.store(bits + rows[:, None] * row_groups + groups[None, :], keep.to(tl.uint8), stored)
            tile = keep_where(tile, keep, BLOCK_M, GROUPS)
        total = tl.dot(tile, down.T, total, input_precision=PRECISION)
        x_tile += x_step
        a_tile += BLOCK_K * a_stride_k

    part = s + (tl.program_id(1).to(tl.int64) * M + rows)[:, None] * R + ranks[None, :]
    tl.store(part, (total * scale).to(s.dtype.element_ty), (rows < M)[:, None])


def shrink(
    x: Tensor, lora_a: Tensor, threshold: int, seed: Tensor | None, config: ShrinkConfig | None = None
) -> tuple[Tensor, Tensor]:
    """S [M, R] in x's dtype, and the mask's bits, uint8 [M, ⌈K/8⌉] (empty where threshold = 0).

    x [M, K] of any strides; lora_a [r, K], float32 or x's dtype. Where the configuration splits K, a float32 workspace
    of splits · M · R elements holds the parts.
    """
    (m, k), rank, padded = x.shape, lora_a.shape[0], padded_rank(lora_a.shape[0])
    config = config or default_shrink_config(x, lora_a)
    scale = keep_scale(threshold)
    split = config.splits > 1
    s = x.new_empty((m, padded))
    bits = x.new_empty((m, (k + GROUP - 1) // GROUP) if threshold else (0,), dtype=torch.uint8)
    parts = x.new_empty((config.splits, m, padded), dtype=torch.float32) if split else s
    span = pieces(pieces(k, config.block_k), config.splits) * config.block_k
    _shrink_kernel[(pieces(m, config.block_m), config.splits)](
        x, lora_a, seed, parts, bits, m, k, rank, span, threshold, 1.0 if split else scale,
        *x.stride(), *lora_a.stride(),
        R=padded, DROPOUT=threshold > 0, EVEN_K=k % config.block_k == 0, PRECISION=dot_precision(x.dtype),
        EIGHTS=vectorised(x, lora_a), BLOCK_M=config.block_m, BLOCK_K=config.block_k,
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    if split:
        add_parts(Sum(parts, s, scale))
    return s, bits
