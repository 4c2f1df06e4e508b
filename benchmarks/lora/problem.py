"""A case as tensors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.lora.cases import Case, Layout

ROTATED_BYTES = 100 * 2**20  # twice the largest second-level cache in use: what comes round again comes from memory
MOST_BUFFERS = 32
SCALING = 2.0


@dataclass(frozen=True)
class Problem:
    """The tensors of a case. A and B are float32; `half` gives them in the type of W."""

    case: Case
    weight: Tensor  # [out, in], frozen
    bias: Tensor | None  # [out], frozen
    lora_a: Tensor  # [r, in]
    lora_b: Tensor  # [out, r]; not zero, as it is when training begins, for zeros are multiplied faster
    xs: list[Tensor]  # [..., in], each with a gradient
    directions: list[Tensor]  # dY for each, [..., out]

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @property
    def rotates(self) -> bool:
        """Whether the buffers together are too large for the caches."""
        return (
            sum(x.numel() + d.numel() for x, d in zip(self.xs, self.directions, strict=True)) * (self.dtype.itemsize)
            >= ROTATED_BYTES
        )

    def adapters(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Fresh copies of A and B that learn, in `dtype`."""
        a, b = (tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in (self.lora_a, self.lora_b))
        return a, b


def make_problem(case: Case, device: torch.device, buffers: int | None = None) -> Problem:
    """Random tensors for `case`: the same ones for the same case. `buffers`: how many x and dY, where not the usual."""
    generator = torch.Generator(device).manual_seed(0)
    dtype: torch.dtype = getattr(torch, case.dtype)

    def draw(*shape: int, std: float = 1.0, kind: torch.dtype = dtype) -> Tensor:
        return (torch.randn(*shape, generator=generator, device=device) * std).to(kind)

    if buffers is None:
        each = case.tokens * (case.inn + case.out) * dtype.itemsize
        buffers = min(MOST_BUFFERS, max(2, math.ceil(ROTATED_BYTES / each)))
    inner = 1 / math.sqrt(case.inn)
    return Problem(
        case,
        draw(case.out, case.inn, std=inner),
        draw(case.out, std=inner) if case.bias else None,
        draw(case.r, case.inn, std=inner, kind=torch.float32),
        draw(case.out, case.r, std=1 / math.sqrt(case.r), kind=torch.float32),
        [_laid_out(draw(case.tokens, case.inn), case.layout).requires_grad_() for _ in range(buffers)],
        [_laid_out(draw(case.tokens, case.out), case.layout, sliced=False) for _ in range(buffers)],
    )


def _laid_out(rows: Tensor, layout: Layout, sliced: bool = True) -> Tensor:
    """The same rows [M, K] as a batch of texts, or as a slice of a wider tensor."""
    if layout == "3-D":
        return rows.view(-1, math.gcd(len(rows), 64), rows.shape[1])
    if layout == "sliced" and sliced:
        wide = torch.zeros(len(rows), 2 * rows.shape[1], dtype=rows.dtype, device=rows.device)
        wide[:, : rows.shape[1]] = rows
        return wide[:, : rows.shape[1]]
    return rows
