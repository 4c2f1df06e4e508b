"""Sums over many rows, the same on every run: cut into ranges, one float32 part each, added in a fixed order.

      length                                     part 0 ─┐
    ┌────────┬────────┬────────┐                 part 1 ─┼─ Σ in order of number ─ · scale ─ round ─► sum
    │ range 0│ range 1│ range 2│ ─ programs ─►   part 2 ─┘
    └────────┴────────┴────────┘

Atomic additions would need no second kernel, but their order, and with it the last bits of a gradient, change from run to
run. The ranges exist to occupy the chip: a product whose output is a few ranks wide has too few tiles of its own.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.triton_common import multiprocessors

_TILE = 2048  # elements of parts that a program adds at a time


class Ranges(NamedTuple):
    """A length cut into `count` ranges of `span` each, the last perhaps shorter."""

    count: int
    span: int


def cut(length: int, step: int, blocks: int, waves: int, limit: int, device: torch.device) -> Ranges:
    """As many ranges of whole steps as let `blocks` · ranges programs run in `waves` waves, at most `limit`.

    The limit keeps the parts a small share of what is read: for a matrix of `length` rows of e-byte elements and parts of
    r float32 an output column, limit = length · e / (8 r) makes the parts at most half of its bytes.
    """
    steps = triton.cdiv(length, step)
    count = max(1, min(steps, limit, waves * multiprocessors(device) // blocks))
    span = triton.cdiv(steps, count) * step
    return Ranges(triton.cdiv(length, span), span)


def share_limit(length: int, element_size: int, rank: int) -> int:
    """The limit for `cut`, at which parts are half as many bytes as the matrix that is read."""
    return max(1, length * element_size // (8 * rank))


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
        programs += triton.cdiv(sum_.out.numel(), _TILE // tile)
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
