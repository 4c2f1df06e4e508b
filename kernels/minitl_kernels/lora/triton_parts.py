"""Sums over many rows, the same on every run: cut into ranges, one float32 part each, added in a fixed order.

      length                                     part 0 ─┐
    ┌────────┬────────┬────────┐                 part 1 ─┼─ Σ in order of number ─ · scale ─ round ─► sum
    │ range 0│ range 1│ range 2│ ─ programs ─►   part 2 ─┘
    └────────┴────────┴────────┘

Atomic additions would need no second kernel, but their order, and with it the last bits of a gradient, change from run
to run. The ranges exist to occupy the chip: a product whose output is a few ranks wide has too few tiles of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import MOST_REGISTERS, Chip, chip_of, pieces, registers

_TILE = 2048  # elements of parts that a program adds at a time


@dataclass(frozen=True)
class SumsConfig:
    """How a program goes over a matrix [length, width]: it holds sums for some of the width, and takes in the length.

    held    columns whose sums it holds      waves   programs for each multiprocessor of the chip
    step    rows that it takes in at a time  warps, stages   of a program: its warps, and its tiles in flight
    """

    held: int
    step: int
    waves: int
    warps: int
    stages: int


# held, step, warps, stages, the smallest and the largest padded rank; the widest first. Outside of these ranks kernels
# were compiled and seen to spill, on one chip or another.
HALF = (
    (256, 64, 8, 2, 16, 32),
    (256, 32, 8, 4, 16, 64),
    (128, 64, 4, 3, 16, 64),
    (128, 32, 8, 3, 128, 256),
    (64, 64, 4, 3, 16, 64),
    (64, 32, 8, 3, 16, 256),
)
FLOAT32 = ((64, 16, 8, 2, 16, 256), (32, 32, 4, 2, 16, 64))
FLOAT32_UNALIGNED = ((32, 32, 4, 2, 16, 64), (32, 16, 8, 2, 16, 256))


def sums_configs(dtype: torch.dtype, padded: int, wide: bool, chip: Chip) -> Iterator[SumsConfig]:
    """The configurations that `chip` can run for sums of `padded` ranks; `wide` where the matrix is `vectorised`."""
    table = HALF if dtype != torch.float32 else FLOAT32 if wide else FLOAT32_UNALIGNED
    # Before sm_90 the operands of a product pass through registers too, and so do tiles that come element by element.
    most = MOST_REGISTERS if wide and chip.tma else MOST_REGISTERS // 2
    usable = [
        SumsConfig(held, step, 2, warps, stages)
        for held, step, warps, stages, smallest, largest in table
        if smallest <= padded <= largest and registers(held * padded, held * step, warps, wide) <= most
    ]
    fitting = [config for config in usable if shared_bytes(config, dtype.itemsize, padded) <= chip.shared]
    for config in fitting or usable[-1:]:  # the bound is far from reached by the smallest
        yield from (config, replace(config, waves=1))


def shared_bytes(config: SumsConfig, itemsize: int, padded: int) -> int:
    """An upper bound of the shared memory that a program needs."""
    tiles = config.stages * config.step * (config.held + padded) * itemsize
    return tiles + (config.held + config.step) * padded * 4 + 256


@lru_cache(maxsize=4096)
def default_sums_config(length: int, width: int, dtype: torch.dtype, padded: int, wide: bool, chip: Chip) -> SumsConfig:
    """A rule for a chip that was never timed: the widest that leaves every multiprocessor something to do."""
    configs = list(sums_configs(dtype, padded, wide, chip))
    for config in configs:
        if pieces(width, config.held) * pieces(length, config.step) >= chip.multiprocessors:
            return config
    return configs[-1]


class Ranges(NamedTuple):
    """A length cut into a number of ranges of `steps` steps each, the last perhaps shorter."""

    number: int
    steps: int


def cut(length: int, step: int, blocks: int, waves: int, element_size: int, rank: int, device: torch.device) -> Ranges:
    """As many ranges of whole steps as let `blocks` · ranges programs run in `waves` waves.

    At most so many that the parts, of `rank` float32 for each column, are half the bytes of the matrix that is read,
    `length` elements of `element_size` bytes for each column.
    """
    steps = pieces(length, step)
    limit = length * element_size // (8 * rank)
    each = pieces(steps, max(1, min(steps, limit, waves * chip_of(device).multiprocessors // blocks)))
    return Ranges(pieces(steps, each), each)


class Sum(NamedTuple):
    """out = scale · Σ parts: float32 parts [count, *shape of out], out contiguous, of any floating type."""

    parts: Tensor
    out: Tensor
    scale: float


def add_parts(*sums: Sum) -> None:
    """Add up to three sets of parts, in one launch."""
    if not sums:
        return
    arguments, tiles, programs = [], [], 0
    for sum_ in sums:
        count = sum_.parts.shape[0]
        tile = min(32, triton.next_power_of_2(count))
        programs += pieces(sum_.out.numel(), _TILE // tile)
        arguments += [sum_.parts, sum_.out, sum_.out.numel(), count, sum_.scale]
        tiles.append(tile)
    missing = 3 - len(sums)
    _add_parts_kernel[(programs,)](*arguments, *[None, None, 0, 0, 0.0] * missing, *tiles, *[1] * missing, TILE=_TILE)


@triton.jit(do_not_specialize=["count0", "count1", "count2"])
def _add_parts_kernel(  # type: ignore[no-untyped-def]
    parts0, out0, size0, count0, scale0, parts1, out1, size1, count1, scale1, parts2, out2, size2, count2, scale2,
    TILE0: tl.constexpr, TILE1: tl.constexpr, TILE2: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    first1 = tl.cdiv(size0, TILE // TILE0)  # the programs of the second set come after those of the first
    first2 = first1 + tl.cdiv(size1, TILE // TILE1)
    if program < first1:
        _add(program, parts0, out0, size0, count0, scale0, TILE0, TILE // TILE0)
    elif program < first2:
        if parts1 is not None:
            _add(program - first1, parts1, out1, size1, count1, scale1, TILE1, TILE // TILE1)
    else:
        if parts2 is not None:
            _add(program - first2, parts2, out2, size2, count2, scale2, TILE2, TILE // TILE2)


@triton.jit
def _add(program, parts, out, size, count, scale, TILE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    elements = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, count, TILE):
        part = first + tl.arange(0, TILE)
        inside = (part < count)[:, None] & (elements < size)[None, :]
        total += tl.sum(tl.load(parts + part.to(tl.int64)[:, None] * size + elements[None, :], inside, 0.0), axis=0)
    tl.store(out + elements, (total * scale).to(out.dtype.element_ty), elements < size)
