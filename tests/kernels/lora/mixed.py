"""Batches of mixed adapters, and what they must give: the formulas of one adapter on its own rows, put together."""

from typing import Any

import torch
from torch import Tensor

from tests.kernels.lora.reference import Exact, reference

Case = dict[str, Any]


def case(
    ids: list[int],
    ranks: list[int],
    columns: int = 12,
    out: int = 10,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    bias: bool = True,
    device: str = "cpu",
) -> Case:
    """The arguments of a call but dropout; A and B are float32 (float64 in float64), scalings differ."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.promote_types(dtype, torch.float32)

    def draw(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    return {
        "x": draw(len(ids), columns).requires_grad_(),
        "weight": draw(out, columns),
        "bias": draw(out).requires_grad_() if bias else None,
        "lora_as": [draw(r, columns, dtype=wide).requires_grad_() for r in ranks],
        "lora_bs": [draw(out, r, dtype=wide).requires_grad_() for r in ranks],
        "scalings": [0.5 + i for i in range(len(ranks))],
        "adapter_ids": torch.tensor(ids, dtype=torch.int64, device=device),
    }


def leaves(given: Case) -> dict[str, Tensor]:
    """What can learn, by name."""
    named = {"x": given["x"], "bias": given["bias"]}
    for kind in ("lora_as", "lora_bs"):
        named |= {f"{kind}[{i}]": t for i, t in enumerate(given[kind])}
    return {name: t for name, t in named.items() if t is not None}


def expected(given: Case, direction: Tensor, ps: list[float], masks: dict[float, Tensor]) -> dict[str, Exact]:
    """y and every gradient, by the names of `leaves`; `masks` has the mask of the whole x for each p but 0."""
    x, ids, base = given["x"], given["adapter_ids"], (given["weight"], given["bias"])
    nothing = x.new_zeros(1, x.shape[1]), x.new_zeros(given["weight"].shape[0], 1)
    none = ids == -1
    results = [(none, reference(x[none], *base, *nothing, 0.0, direction[none]))]
    for i, (lora_a, lora_b, scaling, p) in enumerate(
        zip(given["lora_as"], given["lora_bs"], given["scalings"], ps, strict=True)
    ):
        rows = ids == i
        mask = masks[p][rows] if p else None
        results.append((rows, reference(x[rows], *base, lora_a, lora_b, scaling, direction[rows], mask, p)))
    found = {"y": _rowwise("y", results), "x": _rowwise("x", results)}
    bias = [result["bias"] for _, result in results]
    found["bias"] = Exact(torch.stack([e.value for e in bias]).sum(0), torch.stack([e.size for e in bias]).sum(0))
    for i, (_, result) in enumerate(results[1:]):
        found[f"lora_as[{i}]"], found[f"lora_bs[{i}]"] = result["lora_a"], result["lora_b"]
    return found


def _rowwise(name: str, results: list[tuple[Tensor, dict[str, Exact]]]) -> Exact:
    first = results[0][1][name].value
    whole = Exact(*(first.new_empty(len(results[0][0]), first.shape[1]) for _ in range(2)))
    for rows, result in results:
        whole.value[rows], whole.size[rows] = result[name].value, result[name].size
    return whole
