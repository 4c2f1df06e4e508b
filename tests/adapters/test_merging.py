"""Merged equals unmerged, un-merging is exact, and a merged model is an ordinary one."""

from pathlib import Path

import pytest
import torch

from minitl import (
    LoraConfig,
    add_lora,
    load_model,
    merge_lora,
    remove_lora,
    save_adapter,
    save_model,
    unmerge_lora,
    use_adapter,
)
from minitl.adapters.layer import LoraLinear
from minitl.errors import InputError
from minitl.models.base import Model
from tests.adapters.tiny import TASKS, outputs, tiny, train_a_little

every_model = pytest.mark.parametrize(("family", "task"), TASKS)


def adapted(family: str, task: str, **fields: object) -> Model:
    model = tiny(family, task)
    add_lora(model, LoraConfig(**{"target_modules": "all-linear", "bias": "all", **fields}))  # type: ignore[arg-type]
    train_a_little(model)
    return model


@every_model
@pytest.mark.parametrize("use_dora", [False, True])
def test_merged_equals_unmerged_and_unmerging_is_exact(family: str, task: str, use_dora: bool) -> None:
    model = adapted(family, task, use_dora=use_dora)
    expected = outputs(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    merge_lora(model)
    torch.testing.assert_close(outputs(model), expected, rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    unmerge_lora(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert torch.equal(outputs(model), expected)


@every_model
def test_a_merged_model_is_saved_as_an_ordinary_checkpoint(family: str, task: str, tmp_path: Path) -> None:
    model = adapted(family, task)
    expected = outputs(model)
    merge_lora(model, keep_base=False)
    remove_lora(model)
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    save_model(model, tmp_path)
    torch.testing.assert_close(outputs(load_model(tmp_path)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_an_adapted_output_layer_is_untied_from_the_embedding_when_merged(
    fields: dict[str, list[str]], tmp_path: Path
) -> None:
    model = adapted("gpt2", "causal-lm", **fields)
    expected, embedding = outputs(model), model.embeddings.token.weight.detach().clone()
    merge_lora(model)
    unmerge_lora(model)
    use_adapter(model, None)
    assert model.head.decoder.weight is model.embeddings.token.weight
    use_adapter(model, "default")
    merge_lora(model)
    remove_lora(model)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    torch.testing.assert_close(outputs(again), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(again.embeddings.token.weight, embedding)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_merged_in_float32_and_rounded_once(dtype: torch.dtype, use_dora: bool) -> None:
    model = tiny("bert", "backbone").to(dtype)
    add_lora(model, LoraConfig(target_modules=["query", "embeddings.token"], use_dora=use_dora))
    train_a_little(model)
    layers = [model.layers[0].attention.query, model.embeddings.token]
    exact = [exactly(layer) for layer in layers]
    merge_lora(model)
    for layer, whole in zip(layers, exact, strict=True):
        assert layer.weight.dtype == dtype
        lowest = torch.tensor(torch.finfo(dtype).smallest_normal, dtype=torch.float64)
        exponent = torch.frexp(whole.abs().clamp(min=lowest))[1]  # |whole| < 2 ^ exponent
        half_ulp = torch.finfo(dtype).eps * 2.0 ** (exponent - 2).double()
        # What float32 rounds before is a few units of its own last place.
        assert ((layer.weight.double() - whole).abs() <= half_ulp + 2**-20 * whole.abs().clamp(min=0.1)).all()


def exactly(layer: torch.nn.Module) -> torch.Tensor:
    """The merged weight of the active update in float64, by the equations."""
    update, w = layer.adapters["default"], layer.weight.detach().double()
    if isinstance(layer, LoraLinear):
        v = w + update.scaling * (update.lora_B.double() @ update.lora_A.double())
        norm = v.norm(dim=1, keepdim=True)
    else:
        v = w + update.scaling * (update.lora_embedding_B.double() @ update.lora_embedding_A.double()).T
        norm = v.norm(dim=0)
    if not hasattr(update, "lora_magnitude_vector"):
        return v.detach()
    magnitude = update.lora_magnitude_vector.double()
    return ((magnitude[:, None] if isinstance(layer, LoraLinear) else magnitude) / norm * v).detach()


@pytest.mark.parametrize("where", ["lora_B", "overflow", "own"])
def test_values_that_are_not_finite_are_not_merged(where: str) -> None:
    model = adapted("bert", "sequence-classification")
    update = model.layers[1].attention.value.adapters["default"]
    with torch.no_grad():
        if where == "lora_B":
            update.lora_B[0, 0] = float("nan")
        elif where == "overflow":  # finite in float32, but not as a half-precision weight
            model.half()
            update.float().lora_B.fill_(1e6)
        else:
            model.head.classifier.bias[0] = float("inf")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    named = "head.classifier.bias" if where == "own" else "layers.1.attention.value.weight"
    with pytest.raises(InputError, match=named):
        merge_lora(model)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0, equal_nan=True)
    use_adapter(model, None)  # still possible: nothing is merged


def test_a_model_that_was_halved_while_merged_is_unmerged_in_half_precision() -> None:
    model = adapted("bert", "backbone")
    base = {name: value.detach().half() for name, value in model.named_parameters() if ".lora" not in name}
    merge_lora(model)
    model.half()
    unmerge_lora(model)
    found = dict(model.named_parameters())
    assert all(
        found[name].dtype == torch.float16 and torch.equal(found[name], value)
        for name, value in base.items()
        if ".adapters." not in name
    )


def test_what_is_merged_no_longer_learns() -> None:
    model = adapted("bert", "backbone")
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    merge_lora(model)
    updates = [parameter for name, parameter in model.named_parameters() if ".adapters." in name]
    assert not any(parameter.requires_grad for parameter in updates)
    unmerge_lora(model)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == learning


def test_the_order_of_merging_and_unmerging_is_checked(tmp_path: Path) -> None:
    model = adapted("bert", "backbone")
    with pytest.raises(InputError, match="no adapter is merged"):
        unmerge_lora(model)
    use_adapter(model, None)
    with pytest.raises(InputError, match="no adapter is active"):
        merge_lora(model)
    use_adapter(model, "default")
    merge_lora(model, keep_base=False)
    with pytest.raises(InputError, match="merged already"):
        merge_lora(model)
    with pytest.raises(InputError, match="keep_base=False"):
        unmerge_lora(model)
    for change in (lambda: use_adapter(model, None), lambda: add_lora(model, LoraConfig(), name="other")):
        with pytest.raises(InputError, match="is merged into the weights"):
            change()
    save_adapter(model, tmp_path)  # the adapter itself is still there


def test_a_model_with_adapters_is_not_saved_as_a_checkpoint(tmp_path: Path) -> None:
    model = adapted("bert", "backbone")
    with pytest.raises(InputError, match="remove_lora, after merge_lora"):
        save_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
