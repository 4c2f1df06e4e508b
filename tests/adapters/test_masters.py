"""Over a half-precision base, all that learns is float32, and computes in the base's type."""

from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import LoraConfig, add_lora, load_adapter, merge_lora, remove_lora, save_adapter, use_adapter
from minitl.models.base import Model
from tests.adapters.tiny import IDS, TASKS, outputs, tiny, train_a_little

halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
KINDS: list[dict[str, Any]] = [
    {},
    {"bias": "all", "target_modules": "all-linear"},
    {"bias": "lora_only", "target_modules": "all-linear"},
]


def adapted(family: str, task: str, dtype: torch.dtype, **fields: Any) -> Model:
    model = tiny(family, task).to(dtype)
    add_lora(model, LoraConfig(**fields))
    return model


@halves
@pytest.mark.parametrize("fields", KINDS)
@pytest.mark.parametrize(("family", "task"), TASKS)
def test_all_that_learns_is_float32_and_outputs_keep_the_bases_type(
    family: str, task: str, fields: dict[str, Any], dtype: torch.dtype
) -> None:
    model = adapted(family, task, dtype, **fields)
    before = outputs(model)
    learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in learns.values()} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {dtype}
    assert before.dtype == dtype
    out = model(IDS)
    (out.last_hidden_state if out.logits is None else out.logits).float().sum().backward()
    assert {p.grad.dtype for p in learns.values() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for name, p in learns.items() if name.startswith("head."))
    train_a_little(model)
    assert not torch.equal(outputs(model), before)


def test_a_step_too_small_for_the_bases_type_is_not_lost() -> None:
    model = adapted("bert", "sequence-classification", torch.bfloat16)
    head = model.head.classifier.weight
    before = head.detach().clone()
    with torch.no_grad():
        for _ in range(100):
            head += before * 2**-12  # bfloat16 has 8 bits
    torch.testing.assert_close(head.detach(), before * (1 + 100 * 2**-12), rtol=1e-4, atol=0)


@halves
def test_the_base_comes_back_bit_for_bit_and_files_hold_the_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny("bert", "sequence-classification").to(dtype)
    base = outputs(model)
    add_lora(model, LoraConfig(bias="all"))
    train_a_little(model)
    expected, head = outputs(model), model.head.classifier.weight.detach().clone()
    use_adapter(model, None)
    assert torch.equal(outputs(model), base)
    use_adapter(model, "default")
    assert torch.equal(outputs(model), expected)
    save_adapter(model, tmp_path)
    again = tiny("bert", "sequence-classification").to(dtype)
    load_adapter(again, tmp_path)
    assert torch.equal(again.head.classifier.weight, head)
    assert torch.equal(outputs(again), expected)
    remove_lora(model)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert torch.equal(outputs(model), base)


@halves
def test_a_merged_model_is_of_one_type(dtype: torch.dtype) -> None:
    model = adapted("bert", "sequence-classification", dtype, bias="all")
    train_a_little(model)
    expected = outputs(model)
    merge_lora(model)
    remove_lora(model)
    assert {p.dtype for p in model.parameters()} == {dtype}
    torch.testing.assert_close(outputs(model), expected, rtol=0.05, atol=0.05)


@halves
def test_rows_of_a_mixed_batch_are_those_of_their_adapters(dtype: torch.dtype) -> None:
    model = adapted("bert", "sequence-classification", dtype, bias="all")
    train_a_little(model)
    alone = outputs(model)
    use_adapter(model, None)
    base = outputs(model)
    use_adapter(model, ["default", None])
    mixed = outputs(model)
    torch.testing.assert_close(mixed, torch.stack([alone[0], base[1]]), rtol=0.02, atol=0.02)


def test_a_model_that_is_converted_afterwards_is_converted_whole() -> None:
    model = tiny("bert", "sequence-classification")
    add_lora(model, LoraConfig(), name="first")
    add_lora(model, LoraConfig(), name="second")
    model.bfloat16()
    for name in ("first", "second", None):
        use_adapter(model, name)
        assert outputs(model).dtype == torch.bfloat16
    half = adapted("bert", "sequence-classification", torch.bfloat16)
    half.float()
    for name in ("default", None):
        use_adapter(half, name)
        assert outputs(half).dtype == torch.float32
        assert half.head.classifier.weight.dtype == torch.float32


@pytest.mark.parametrize("names", ["default", ["default", None]])
def test_a_hook_acts_once(names: str | list[str | None]) -> None:
    model = adapted("bert", "sequence-classification", torch.bfloat16, bias="all")
    use_adapter(model, names)
    expected = outputs(model) + 1
    model.head.classifier.register_forward_hook(lambda _module, _inputs, output: output + 1)
    assert torch.equal(outputs(model), expected)
