"""Which rows a tile works on, and for which adapter: tables that the device makes from the ids, without the host.

    ids     1  0 −1  0  1  1  0  0        a unit is UNIT rows of one adapter (here 2); −1, and what is no id, come last

    rows    1  3 │ 6  7 │ 0  4 │ 5  ∅ │ 2  ∅ │ ∅  ∅        ∅ = M, a row that is none
    owner     0     0      1      1      2      −1         2 = count: the base alone; −1: nothing
    first   0           2             4      5             where the units of each begin, and where all end

How many units are used is known only to the device. There are never more than ⌊(M + (n + 1)(UNIT − 1)) / UNIT⌋, so as
many are launched, and those that are not used return at once. The rows of an adapter keep their order, so sums over
them have one order too.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitl_kernels.lora.adapters import Adapters

COLUMNS = 4  # of the table of numbers


class Routes(NamedTuple):
    """rows int32 [units · UNIT], owner int32 [units], first int32 [n + 2]: see above."""

    rows: Tensor
    owner: Tensor
    first: Tensor

    @property
    def unit(self) -> int:
        return self.rows.shape[0] // self.owner.shape[0]


def unit_of(rows: int) -> int:
    """Rows in a unit: many make few partial sums in the backward pass, few keep all multiprocessors busy."""
    return 256 if rows > 8192 else 128


def unit_count(rows: int, adapters: int, unit: int) -> int:
    """The most units that `rows` rows of `adapters` adapters and the base can need."""
    return min(rows, (rows + (adapters + 1) * (unit - 1)) // unit)


def route(ids: Tensor, count: int, unit: int) -> Routes:
    """The tables for ids int64 [M]: one launch of count + 1 programs, each of which reads the ids twice."""
    m, units = ids.shape[0], unit_count(ids.shape[0], count, unit)
    sizes = units * unit, units, count + 2
    routes = Routes(*(torch.empty(size, dtype=torch.int32, device=ids.device) for size in sizes))
    bins = triton.next_power_of_2(count + 2)
    _route_kernel[(count + 1,)](
        ids, *routes, m, count, units, ids.stride(0), UNIT=unit, BINS=bins, BLOCK=1024, num_warps=4
    )
    return routes


def numbers(adapters: Adapters, device: torch.device) -> Tensor:
    """float32 [n + 1, 4]: where an adapter's ranks begin among all, its rank, s, and its threshold; zeros for the base.

    The numbers travel as arguments of a launch: a copy from the host's memory would make the host wait, and a CUDA
    graph cannot hold one.
    """
    table = torch.zeros(len(adapters.lora_as) + 1, COLUMNS, dtype=torch.float32, device=device)
    values, start = list[float](), 0
    for rank, scaling, threshold in zip(adapters.ranks, adapters.scalings, adapters.thresholds, strict=True):
        values += [float(start), float(rank), scaling, float(threshold)]
        start += rank
    torch._foreach_add_(list(table[:-1].view(-1).unbind()), values)
    return table


@triton.jit
def _groups(ids, first, M, count, stride, BINS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The adapters of BLOCK rows; count for the base and for what is no id, BINS - 1 beyond the last row."""
    rows = first + tl.arange(0, BLOCK)
    ids = tl.load(ids + rows.to(tl.int64) * stride, rows < M, -1)
    group = tl.where((ids >= 0) & (ids < count), ids, count).to(tl.int32)
    return tl.where(rows < M, group, BINS - 1)


@triton.jit(do_not_specialize=["M", "count", "units"])
def _route_kernel(  # type: ignore[no-untyped-def]
    ids, rows, owner, first, M, count, units, stride,
    UNIT: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    own = tl.program_id(0)
    bins = tl.arange(0, BINS)
    totals = tl.zeros((BINS,), tl.int32)
    for start in range(0, M, BLOCK):
        totals += tl.histogram(_groups(ids, start, M, count, stride, BINS, BLOCK), BINS)
    needed = tl.where(bins <= count, (totals + UNIT - 1) // UNIT, 0)
    begin = tl.sum(tl.where(bins < own, needed, 0))
    end = begin + tl.sum(tl.where(bins == own, needed, 0))

    place = begin * UNIT
    for start in range(0, M, BLOCK):
        mine = (_groups(ids, start, M, count, stride, BINS, BLOCK) == own).to(tl.int32)
        tl.store(rows + place + tl.cumsum(mine) - 1, start + tl.arange(0, BLOCK), mine != 0)
        place += tl.sum(mine)
    rest = place + tl.arange(0, UNIT)
    tl.store(rows + rest, tl.zeros((UNIT,), tl.int32) + M, rest < end * UNIT)

    tl.store(first + own, begin)
    for start in range(begin, end, BLOCK):
        unit = start + tl.arange(0, BLOCK)
        tl.store(owner + unit, tl.zeros((BLOCK,), tl.int32) + own, unit < end)
    if own == count:
        tl.store(first + count + 1, end)
        for start in range(end, units, BLOCK):
            unit = start + tl.arange(0, BLOCK)
            tl.store(owner + unit, tl.full((BLOCK,), -1, tl.int32), unit < units)
