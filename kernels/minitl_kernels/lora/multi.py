"""`lora_linear_multi`: one adapter id per row, the adapters of a whole batch in one operation.

    ids   0  0  2 −1  1        row m:  y = xWᵀ + b + sᵢ · dropout(x) Aᵢᵀ Bᵢᵀ,   i = ids[m]; the base alone where −1

    checks ─► autocast ─► rows [M, in], ids [M] ─► seed ─► path ─► y [..., out]

The front is that of `lora_linear` (operator.py); the paths are

    segments   adapter by adapter, for a processor
    blocks     one update of rank Σrᵢ, in plain PyTorch, for any device
    cuda       Triton: tiles of rows, each routed to its adapter
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitl_kernels.lora.adapters import Adapters
from minitl_kernels.lora.checks import autocast_type, check_base, check_scaling, check_types, check_update
from minitl_kernels.lora.inputs import Needs
from minitl_kernels.lora.mask import seed_tensor, threshold_of
from minitl_kernels.lora.multi_blocks import compose
from minitl_kernels.lora.paths import path_name

_MODULES = {"plain": "multi_blocks", "cpu": "multi_segments", "cuda": "multi_cuda"}  # by the name of `force_path`
Shapes = list[tuple[tuple[int, ...], torch.dtype | None]]


class Path(Protocol):
    """What the operator asks of a path; x and grad_y are 2-D, ids has one entry a row."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, ids: Tensor, seed: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """y, and what the backward pass needs."""
        ...

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        adapters: Adapters,
        ids: Tensor,
        saved: list[Tensor],
        seed: Tensor | None,
        needs: Needs,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """The needed gradients of x, of all A one upon another [Σr, K], of all Bᵀ likewise [Σr, N], and of b."""
        ...

    def saved_shapes(self, rows: int, columns: int, adapters: Adapters) -> Shapes:
        """Shapes and types of what `forward` returns beside y; None stands for x's type."""
        ...


def lora_linear_multi(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scalings: Sequence[float],
    adapter_ids: Tensor,
    dropout_p: float | Sequence[float] = 0.0,
    training: bool = False,
    seed: int | Tensor | None = None,
) -> Tensor:
    """What `lora_linear` computes, with an adapter of its own for every row: [..., in] -> [..., out].

    x            [..., in], weight [out, in] frozen, bias [out] or None, as in `lora_linear`
    lora_as      n tensors [rᵢ, in], of weight's type or float32; the ranks may differ
    lora_bs      n tensors [out, rᵢ], likewise
    scalings     n numbers sᵢ
    adapter_ids  int64 on x's device, one for each entry of x's first dimension (a sentence), or one for each of its
                 rows (x.numel() / in of them); in [0, n), or -1 for the base alone
    dropout_p    one probability, or n of them: adapters that meet in a batch need not have been made alike
    training     whether dropout acts
    seed         of the mask, as in `lora_linear`: row m is masked as `lora_linear` masks row m with that p and seed

    Differentiable once in x, bias, every A and every B; an adapter without rows gets zeros. Deterministic. Where weight
    requires a gradient, PyTorch's own operations compute everything.

    TypeError for types, ValueError for lengths, shapes, devices or numbers that do not fit. Ids beyond [-1, n) raise on
    a processor; on other devices looking at them would mean waiting, and their rows get the base alone.
    """
    ids = _check(x, weight, bias, lora_as, lora_bs, scalings, adapter_ids)
    if (dtype := autocast_type(x)) is not None:
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        lora_as, lora_bs = ([t if t.dtype == torch.float32 else t.to(dtype) for t in ts] for ts in (lora_as, lora_bs))
    for lora_a, lora_b in zip(lora_as, lora_bs, strict=True):
        check_types(x, weight, bias, lora_a, lora_b)
    thresholds = _thresholds(dropout_p, len(lora_as), training)
    seed = seed_tensor(seed, x.device) if any(thresholds) else None
    adapters = Adapters(list(lora_as), list(lora_bs), [float(s) for s in scalings], thresholds)
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])  # [M, in]: a view wherever the leading dimensions allow one
    if x.numel() == 0 or weight.numel() == 0 or (weight.requires_grad and torch.is_grad_enabled()):
        if not torch.compiler.is_compiling():  # a graph cannot look
            _check_range(ids, len(lora_as))
        y = compose(rows, weight, bias, adapters, ids, seed)
    else:
        path = path_name(x.device, x.dtype, max(adapters.ranks))
        y = _dispatch(rows, weight, bias, adapters, ids, seed, path)
    return y.view(*x.shape[:-1], weight.shape[0])


def _dispatch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    adapters: Adapters,
    ids: Tensor,
    seed: Tensor | None,
    path: str,
) -> Tensor:
    """y, by the registered operation while a graph is captured, else by the autograd function, which costs less."""
    if torch.compiler.is_compiling():
        return registered_forward(x, weight, bias, ids, seed, *adapters, path)[0]
    if torch.is_grad_enabled():
        lora_as, lora_bs, *numbers = adapters
        return _LoraLinearMulti.apply(x, weight, bias, ids, seed, numbers, path, *lora_as, *lora_bs)
    return _forward(x, weight, bias, ids, seed, adapters, path)[0]


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scalings: Sequence[float],
    adapter_ids: Tensor,
) -> Tensor:
    """Refuse by name what does not fit; the ids as one for each row of x, [M]."""
    if not len(lora_as) == len(lora_bs) == len(scalings) or not lora_as:
        found = f"{len(lora_as)}, {len(lora_bs)} and {len(scalings)}"
        raise ValueError(f"lora_as, lora_bs and scalings must have one entry for each adapter, got {found}")
    check_base(x, weight, bias)
    for i, (lora_a, lora_b, scaling) in enumerate(zip(lora_as, lora_bs, scalings, strict=True)):
        try:
            check_update(x, weight, lora_a, lora_b)
            check_scaling(scaling)
        except (TypeError, ValueError) as error:
            raise type(error)(f"adapter {i}: {error}") from None
    if not isinstance(adapter_ids, Tensor):
        raise TypeError(f"adapter_ids must be a tensor, got {adapter_ids!r}")
    if adapter_ids.dtype != torch.int64 or adapter_ids.device != x.device:
        raise TypeError(f"adapter_ids must be int64 on {x.device}, got {adapter_ids.dtype} on {adapter_ids.device}")
    rows, entries = x.shape[:-1].numel(), x.shape[0] if x.dim() > 1 else 1
    if adapter_ids.dim() != 1 or adapter_ids.shape[0] not in (rows, entries):
        raise ValueError(
            f"adapter_ids must be [{entries}] or [{rows}] for {list(x.shape)}, got {list(adapter_ids.shape)}"
        )
    if adapter_ids.shape[0] == rows:
        return adapter_ids
    return adapter_ids[:, None].expand(entries, rows // entries).reshape(rows)


def _thresholds(dropout_p: float | Sequence[float], count: int, training: bool) -> list[int]:
    ps = [dropout_p] * count if isinstance(dropout_p, int | float) else list(dropout_p)
    if len(ps) != count:
        raise ValueError(f"dropout_p must be one number or one for each of {count} adapters, got {len(ps)}")
    thresholds = [threshold_of(p) for p in ps]
    return thresholds if training else [0] * len(ps)


def _path_called(name: str) -> Path:
    """The module of a path; Triton is imported when it is first needed."""
    return import_module(f"minitl_kernels.lora.{_MODULES[name]}")


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    seed: Tensor | None,
    adapters: Adapters,
    path: str,
) -> tuple[Tensor, list[Tensor]]:
    """y and what is saved, by the path of that name; on a processor the ids are looked at first."""
    _check_range(ids, len(adapters.lora_as))
    return _path_called(path).forward(x, weight, bias, adapters, ids, seed)


def _check_range(ids: Tensor, count: int) -> None:
    """ValueError for an id beyond [-1, count), where looking does not mean waiting for a device."""
    if ids.device.type == "cpu" and len(ids):
        low, high = (int(bound) for bound in torch.aminmax(ids))
        if low < -1 or high >= count:
            raise ValueError(f"adapter_ids must lie in [-1, {count}), got {low if low < -1 else high}")


def _split(grad: Tensor | None, like: Sequence[Tensor], transposed: bool) -> list[Tensor | None]:
    """The gradient of each adapter, out of that of all, which lie one upon another."""
    if grad is None:
        return [None] * len(like)
    parts = grad.split([t.shape[1 if transposed else 0] for t in like])
    return [(part.t() if transposed else part).to(t.dtype) for part, t in zip(parts, like, strict=True)]


class _LoraLinearMulti(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        seed: Tensor | None,
        numbers: tuple[list[float], list[int]],
        path: str,
        *low_rank: Tensor,
    ) -> Tensor:
        count = len(low_rank) // 2
        adapters = Adapters(list(low_rank[:count]), list(low_rank[count:]), *numbers)
        y, saved = _forward(x, weight, bias, ids, seed, adapters, path)
        ctx.save_for_backward(x, weight, ids, seed, *low_rank, *saved)
        ctx.numbers, ctx.path, ctx.count = numbers, path, count
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, ids, seed, *rest = ctx.saved_tensors
        count = ctx.count
        adapters = Adapters(rest[:count], rest[count : 2 * count], *ctx.numbers)
        wanted = ctx.needs_input_grad
        needs = Needs(wanted[0], any(wanted[7 : 7 + count]), any(wanted[7 + count :]), wanted[2])
        backward = _path_called(ctx.path).backward
        grad_x, grad_a, grad_b, grad_bias = backward(grad_y, x, weight, adapters, ids, rest[2 * count :], seed, needs)
        grads = _split(grad_a, adapters.lora_as, False) + _split(grad_b, adapters.lora_bs, True)
        return grad_x, None, grad_bias, None, None, None, None, *grads


@torch.library.custom_op("minitl::lora_linear_multi", mutates_args=())
def registered_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    seed: Tensor | None,
    lora_as: list[Tensor],
    lora_bs: list[Tensor],
    scalings: list[float],
    thresholds: list[int],
    path: str,
) -> list[Tensor]:
    """y and what is saved, by the path of that name."""
    y, saved = _forward(x, weight, bias, ids, seed, Adapters(lora_as, lora_bs, scalings, thresholds), path)
    return [y, *saved]


@registered_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,  # noqa: ARG001
    ids: Tensor,  # noqa: ARG001
    seed: Tensor | None,  # noqa: ARG001
    lora_as: list[Tensor],
    lora_bs: list[Tensor],
    scalings: list[float],
    thresholds: list[int],
    path: str,
) -> list[Tensor]:
    shapes = _path_called(path).saved_shapes(x.shape[0], x.shape[1], Adapters(lora_as, lora_bs, scalings, thresholds))
    saved = [x.new_empty(shape, dtype=dtype or x.dtype) for shape, dtype in shapes]
    return [x.new_empty(x.shape[0], weight.shape[0]), *saved]


@torch.library.custom_op("minitl::lora_linear_multi_backward", mutates_args=())
def registered_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    ids: Tensor,
    seed: Tensor | None,
    lora_as: list[Tensor],
    lora_bs: list[Tensor],
    saved: list[Tensor],
    scalings: list[float],
    thresholds: list[int],
    needs: list[bool],
    path: str,
) -> list[Tensor]:
    """The gradients of x, all A, all B and b; an empty tensor stands for what is not needed."""
    adapters = Adapters(lora_as, lora_bs, scalings, thresholds)
    grads = _path_called(path).backward(grad_y, x, weight, adapters, ids, saved, seed, Needs(*needs))
    return [x.new_empty(0) if grad is None else grad for grad in grads]


@registered_backward.register_fake
def _(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    ids: Tensor,  # noqa: ARG001
    seed: Tensor | None,  # noqa: ARG001
    lora_as: list[Tensor],
    lora_bs: list[Tensor],  # noqa: ARG001
    saved: list[Tensor],  # noqa: ARG001
    scalings: list[float],  # noqa: ARG001
    thresholds: list[int],  # noqa: ARG001
    needs: list[bool],
    path: str,  # noqa: ARG001
) -> list[Tensor]:
    stacked, wide = sum(a.shape[0] for a in lora_as), torch.promote_types(x.dtype, torch.float32)
    full = (
        x.new_empty(x.shape),
        x.new_empty(stacked, x.shape[1], dtype=wide),
        x.new_empty(stacked, weight.shape[0], dtype=wide),
        grad_y.new_empty(weight.shape[0]),
    )
    return [grad if need else x.new_empty(0) for grad, need in zip(full, needs, strict=True)]


def _setup_context(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    x, weight, _, ids, seed, lora_as, lora_bs, ctx.scalings, ctx.thresholds, ctx.path = inputs
    ctx.save_for_backward(x, weight, ids, seed, *lora_as, *lora_bs, *output[1:])
    ctx.count = len(lora_as)


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, weight, ids, seed, *rest = ctx.saved_tensors
    lora_as, lora_bs, saved = rest[: ctx.count], rest[ctx.count : 2 * ctx.count], rest[2 * ctx.count :]
    wanted = ctx.needs_input_grad
    needs = Needs(wanted[0], any(wanted[5]), any(wanted[6]), wanted[2])
    numbers = (ctx.scalings, ctx.thresholds, list(needs), ctx.path)
    found = registered_backward(grads[0], x, weight, ids, seed, lora_as, lora_bs, saved, *numbers)
    grad_x, grad_a, grad_b, grad_bias = (grad if need else None for grad, need in zip(found, needs, strict=True))
    grads_a, grads_b = _split(grad_a, lora_as, False), _split(grad_b, lora_bs, True)
    return grad_x, None, grad_bias, None, None, grads_a, grads_b, None, None, None


registered_forward.register_autograd(_backward, setup_context=_setup_context)
