"""The GPU's path through the operator's front, every plan of it: in the interpreter here, on a GPU with -m gpu."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from minitl_kernels import force_path, lora_linear
from minitl_kernels.lora.cuda import _cut
from minitl_kernels.lora.philox import philox_keep
from minitl_kernels.lora.plans import FORWARDS, GRAD_XS, Plan, Problem, can_be_single, force_plan, plan_for, rule
from minitl_kernels.lora.triton_common import HOPPER, dot_precision
from minitl_kernels.lora.triton_tiles import product_configs
from torch import Tensor

from tests.kernels.lora.conftest import Place
from tests.kernels.lora.reference import assert_close, reference

PLANS = [(forward, grad_x) for forward in FORWARDS for grad_x in GRAD_XS]
NAMES = ("x", "lora_a", "lora_b", "bias")


def run(
    inputs: dict[str, Any], direction: Tensor, plan: Plan | None, needed: tuple[str, ...] = NAMES
) -> tuple[Tensor, dict[str, Tensor | None]]:
    """y and the gradients by the GPU's path; a function of its arguments alone, for it may run in another process."""
    tensors = {name: value.detach() if isinstance(value, Tensor) else value for name, value in inputs.items()}
    for name in needed:
        if tensors[name] is not None:
            tensors[name].requires_grad_()
    with force_path("cuda"), force_plan(plan):
        y = lora_linear(**tensors)
        y.backward(direction)
    return y.detach(), {name: None if tensors[name] is None else tensors[name].grad for name in NAMES}


def case(
    place: Place, rows: int, columns: int, out: int, r: int, p: float, bias: bool = True
) -> tuple[dict[str, Any], Tensor]:
    """The operator's arguments, and a direction for the gradients; A and B in float32."""
    generator = torch.Generator().manual_seed(rows + 7 * columns + 31 * out + r)

    def draw(*shape: int, dtype: torch.dtype = place.dtype) -> Tensor:
        return torch.randn(*shape, generator=generator).to(place.device, dtype)

    inputs = {
        "x": draw(rows, columns),
        "weight": draw(out, columns),
        "bias": draw(out) if bias else None,
        "lora_a": draw(r, columns, dtype=torch.float32),
        "lora_b": draw(out, r, dtype=torch.float32),
        "scaling": 0.75,
        "dropout_p": p,
        "training": True,
        "seed": torch.tensor(1234567890123, device=place.device),
    }
    return inputs, draw(rows, out)


def check(place: Place, inputs: dict[str, Any], direction: Tensor, plan: Plan | None) -> None:
    """y and all gradients against the formulas, with the mask that counting gives."""
    y, grads = place.run(run, inputs, direction, plan)
    p = inputs["dropout_p"]
    mask = philox_keep(inputs["seed"], *inputs["x"].shape, round(p * 65536)) if p else None
    names = ("x", "weight", "bias", "lora_a", "lora_b", "scaling")
    exact = reference(**{name: inputs[name] for name in names}, direction=direction, mask=mask, p=p)
    assert_close(y, exact["y"], place.dtype)
    for name, grad in grads.items():
        if inputs[name] is not None:
            assert grad is not None
            assert grad.dtype == inputs[name].dtype
            assert_close(grad, exact[name], place.dtype)


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(("forward", "grad_x"), PLANS)
def test_every_plan_gives_the_formulas(place: Place, forward: Any, grad_x: Any, p: float) -> None:
    check(place, *case(place, 37, 72, 50, 5, p), Plan(forward, grad_x))


@pytest.mark.slow
@pytest.mark.parametrize("r", [1, 16, 24, 130])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 130, 65), (130, 1, 3), (65, 33, 129), (129, 128, 64)])
@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.filterwarnings("ignore:rank")
def test_hard_shapes_by_the_rules_plan(place: Place, shape: tuple[int, int, int], r: int, p: float) -> None:
    check(place, *case(place, *shape, r, p, bias=r != 16), None)


@pytest.mark.parametrize("needed", [("x",), ("lora_a",), ("lora_b",), ("bias",), ("lora_a", "lora_b")])
def test_what_is_not_needed_is_not_computed_and_the_rest_is_the_same(place: Place, needed: tuple[str, ...]) -> None:
    inputs, direction = case(place, 20, 40, 24, 4, 0.2)
    _, together = place.run(run, inputs, direction, Plan("expand", "product"))
    _, alone = place.run(run, inputs, direction, Plan("expand", "product"), needed)
    for name in NAMES:
        if name in needed:
            torch.testing.assert_close(alone[name], together[name])  # the interpreter's products vary by their place
        else:
            assert alone[name] is None


def test_the_path_is_deterministic(place: Place) -> None:
    inputs, direction = case(place, 150, 72, 130, 8, 0.1)
    first = place.run(run, inputs, direction, Plan("expand", "product"))
    second = place.run(run, inputs, direction, Plan("expand", "product"))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][name], second[1][name]) for name in NAMES)


size = st.integers(1, 20000)


@given(
    rows=size,
    columns=size,
    out=size,
    r=st.integers(1, 256),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    threshold=st.sampled_from([0, 6554]),
)
def test_the_rule_has_a_plan_that_can_be_for_every_problem(
    rows: int, columns: int, out: int, r: int, dtype: torch.dtype, threshold: int
) -> None:
    x, weight = torch.empty(rows, columns, dtype=dtype, device="meta"), torch.empty(out, columns, device="meta")
    problem = Problem.of(x, weight, r, threshold)
    assert problem.rows >= rows > problem.rows // 2
    assert problem.rank >= max(r, 16)
    plan = plan_for(x, weight, r, threshold)
    assert plan == rule(problem)
    assert plan.forward in FORWARDS
    assert plan.grad_x in GRAD_XS
    assert plan.forward != "single" or can_be_single(problem)
    if dtype == torch.float32 or columns % 8 or out % 8:
        assert (plan.forward, plan.grad_x) == ("cublas", "cublas")
    with force_plan(Plan("cublas", "product")):
        assert plan_for(x, weight, r, threshold) == Plan("cublas", "product")
    assert plan_for(x, weight, r, threshold) == plan


@pytest.mark.parametrize("tma", [True, False])
def test_a_plans_descriptors_are_given_up_for_operands_that_they_cannot_describe(tma: bool) -> None:
    config = next(
        config for config in product_configs(torch.float16, "ieee", 16, HOPPER, True, True) if config.tma == tma
    )
    plan, whole = Plan("expand", "product", {"expand": config}), torch.zeros(16, 72, dtype=torch.float16)
    assert _cut(plan, "expand", whole, whole[:, :64]) is config
    assert _cut(plan, "expand", whole, whole[:, 1:65]) is (None if tma else config)
    assert _cut(plan, "grad_x", whole) is None


@pytest.mark.parametrize(("precision", "exact"), [("tf32", False), ("ieee", True)])
def test_a_precision_that_is_set_for_cuda_alone_is_heeded(precision: str, exact: bool) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = precision
    try:
        assert dot_precision(torch.float32) == precision
        assert dot_precision(torch.bfloat16) == "ieee"
        assert (rule(Problem(1024, 768, 768, 16, "float32", True)) == Plan("cublas", "cublas")) == exact
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
