"""`lora_linear_multi` adapter by adapter: the rows of each are gathered, and multiplied by its own A and B alone.

    ids 1 0 1 0 0 ─ stable sort ─► adapter 0: rows 1 3 4    Sᵢ = x̂[rows] Aᵢᵀ,   y[rows] += s Sᵢ Bᵢᵀ
                                   adapter 1: rows 0 2

Rows that follow one another, as in a batch that is sorted by adapter, are a view and not gathered. The arithmetic is
that of one adapter, at any number of them. How many rows an adapter has decides shapes, so this is for a processor: a
GPU would have to be waited for.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.lora.adapters import Adapters, draw_mixed_keep, masked
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.plain import scaled_product, wide_product, wide_type

Rows = slice | Tensor


def saved_shapes(rows: int, columns: int, adapters: Adapters) -> list[tuple[tuple[int, ...], torch.dtype | None]]:  # noqa: ARG001
    """Shapes and types of what `forward` returns beside y."""
    return [((rows, max(adapters.ranks)), None)]


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, ids: Tensor, seed: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """y [M, N] and S [M, max r], whose rows are in the adapters' order, for x [M, K] and ids [M]."""
    keep = draw_mixed_keep(seed, ids, x.shape[1], adapters.thresholds)
    y, s = F.linear(x, weight, bias), x.new_zeros(x.shape[0], max(adapters.ranks))
    for i, rows, place in _segments(ids, len(adapters.lora_as)):
        lora_a, lora_b = adapters.lora_as[i].to(x.dtype), adapters.lora_bs[i].to(x.dtype)
        own = s[place, : lora_a.shape[0]]
        kept = masked(_take(x, rows), None if keep is None else _take(keep, rows))
        own.copy_(scaled_product(kept, lora_a.t(), adapters.keep_scales[i]))
        _add_product(y, rows, own, lora_b.t(), adapters.scalings[i])
    return y, [s]


def backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    adapters: Adapters,
    ids: Tensor,
    saved: list[Tensor],
    seed: Tensor | None,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The needed gradients of x [M, K], of all A [Σr, K], of all Bᵀ [Σr, N], and of b; those of A and B are wide."""
    wide, stacked = wide_type(x.dtype), sum(adapters.ranks)
    keep = draw_mixed_keep(seed, ids, x.shape[1], adapters.thresholds)
    grad_bias = grad_y.sum(dim=0, dtype=wide).to(grad_y.dtype) if needs.bias else None
    grad_x = grad_y @ weight if needs.x else None
    grad_a = x.new_zeros(stacked, x.shape[1], dtype=wide) if needs.lora_a else None
    grad_b = x.new_zeros(stacked, weight.shape[0], dtype=wide) if needs.lora_b else None
    starts = torch.tensor([0, *adapters.ranks]).cumsum(0).tolist()
    for i, rows, place in _segments(ids, len(adapters.lora_as)):
        lora_a, lora_b = adapters.lora_as[i].to(x.dtype), adapters.lora_bs[i].to(x.dtype)
        own, stack = _take(grad_y, rows), slice(starts[i], starts[i + 1])
        own_keep = None if keep is None else _take(keep, rows)
        if grad_b is not None:
            torch.mul(
                wide_product(saved[0][place, : lora_a.shape[0]].t(), own), adapters.scalings[i], out=grad_b[stack]
            )
        if grad_a is None and grad_x is None:
            continue
        grad_s = scaled_product(own, lora_b, adapters.scalings[i] * adapters.keep_scales[i])
        if grad_a is not None:
            grad_a[stack] = wide_product(grad_s.t(), masked(_take(x, rows), own_keep))
        if grad_x is not None and own_keep is None:
            _add_product(grad_x, rows, grad_s, lora_a, 1.0)
        elif grad_x is not None:
            _add(grad_x, rows, masked(grad_s @ lora_a, own_keep))
    return grad_x, grad_a, grad_b, grad_bias


def _segments(ids: Tensor, count: int) -> Iterator[tuple[int, Rows, slice]]:
    """For each adapter that has rows: which one, its rows, and where they are in the adapters' order."""
    order = torch.argsort(ids, stable=True)
    ends = torch.bincount(ids + 1, minlength=count + 1).cumsum(0).tolist()  # of the rows of no adapter, of adapter 0, …
    for i, (start, end) in enumerate(pairwise(ends)):
        if end > start:
            rows = order[start:end]
            first, last = int(rows[0]), int(rows[-1])
            yield i, slice(first, last + 1) if last - first == end - start - 1 else rows, slice(start, end)


def _take(matrix: Tensor, rows: Rows) -> Tensor:
    return matrix[rows] if isinstance(rows, slice) else matrix.index_select(0, rows)


def _add(matrix: Tensor, rows: Rows, update: Tensor, scale: float = 1.0) -> None:
    if isinstance(rows, slice):
        matrix[rows].add_(update, alpha=scale)
    else:
        matrix.index_add_(0, rows, update, alpha=scale)


def _add_product(matrix: Tensor, rows: Rows, left: Tensor, right: Tensor, scale: float) -> None:
    if isinstance(rows, slice):
        matrix[rows].addmm_(left, right, alpha=scale)
    else:
        _add(matrix, rows, left @ right, scale)
