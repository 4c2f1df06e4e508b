"""`lora_linear_multi` on a GPU: tiles of rows, wherever they lie, that are routed to their adapters.

    ids ─ route ─► units of rows        x ─ shrink(A) ─► S, bits         y = x Wᵀ + b + update(S, B)
                                       dY ─ one pass ──► dS, dB         dX = dY W + update(dS, A, bits)
                                        x ─────────────► dA

The base's product and the update are one kernel that gathers its rows, or cuBLAS and an update in place: see `pays`.

Nothing asks the device for a number, so a CUDA graph can hold it all, and replays it with other ids. The As are copied
one upon another, the Bs side by side, each by one launch: Σr · (K + N) numbers read and written, at eight adapters of
rank 16 and 4096² in float32 8 MB, beside 67 MB of x alone at 8192 rows. (A table of pointers instead would have to
come from the host's memory.) S, bits and the routes are kept for the backward pass: M · R numbers, one bit an element
of x, and four bytes a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl_kernels.lora.adapters import Adapters
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.ranks import padded_rank
from minitl_kernels.lora.triton_multi_gradients import grad_a, grad_s_and_b
from minitl_kernels.lora.triton_multi_low_rank import expand, shrink
from minitl_kernels.lora.triton_multi_product import pays, product
from minitl_kernels.lora.triton_multi_routing import Routes, numbers, route, unit_count, unit_of


def saved_shapes(rows: int, columns: int, adapters: Adapters) -> list[tuple[tuple[int, ...], torch.dtype | None]]:
    """Shapes and types of what `forward` returns beside y: S, bits, and the routes."""
    count, unit = len(adapters.lora_as), unit_of(rows)
    units, dropout = unit_count(rows, count, unit), any(adapters.thresholds)
    tables = [((size,), torch.int32) for size in (units * unit, units, count + 2)]
    bits = (rows, (columns + 7) // 8) if dropout else (0,)
    return [((rows, padded_rank(max(adapters.ranks))), None), (bits, torch.uint8), *tables]


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, ids: Tensor, seed: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """y [M, N]; S [M, R], the mask's bits, and the routes; for x [M, K] and ids [M]."""
    routes = route(ids, len(adapters.lora_as), unit_of(x.shape[0]))
    table, padded = numbers(adapters, x.device), padded_rank(max(adapters.ranks))
    s, bits = shrink(x, torch.cat(adapters.lora_as), table, routes, padded, any(adapters.thresholds), False, seed)
    right = torch.cat(adapters.lora_bs, dim=1).t()
    if pays(x, weight.shape[0]):
        y = product(x, weight.t(), bias, s, right, None, table, routes, True)
    else:
        y = expand(F.linear(x, weight, bias), s, right, None, table, routes, True)
    return y, [s, bits, *routes]


def backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    adapters: Adapters,
    ids: Tensor,  # noqa: ARG001 - the routes say it all
    saved: list[Tensor],
    seed: Tensor | None,  # noqa: ARG001 - the bits say it all
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The needed gradients of x [M, K], of all A [Σr, K], of all Bᵀ [Σr, N], and of b; those of A and B are float32."""
    s, bits, routes = saved[0], saved[1] if any(adapters.thresholds) else None, Routes(*saved[2:])
    table, right = numbers(adapters, x.device), torch.cat(adapters.lora_bs, dim=1).t()
    by_a = by_x = by_bias = None
    if needs.bias:
        by_bias = grad_y.sum(dim=0, dtype=torch.float32).to(grad_y.dtype)
    grad_s, by_b = grad_s_and_b(grad_y, s, right, table, routes, needs.x or needs.lora_a, needs.lora_b)
    if needs.lora_a and grad_s is not None:
        by_a = grad_a(grad_s, x, bits, table, routes, len(right))
    if needs.x and grad_s is not None:
        right = torch.cat(adapters.lora_as)
        if pays(grad_y, x.shape[1]):
            by_x = product(grad_y, weight, None, grad_s, right, bits, table, routes, False)
        else:
            by_x = expand(grad_y @ weight, grad_s, right, bits, table, routes, False)
    return by_x, by_a, by_b, by_bias
