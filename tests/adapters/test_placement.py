"""What placing, choosing and removing adapters changes in a model, and what it leaves alone."""

import copy

import pytest
import torch
from torch import nn

from minitl import LoraConfig, add_lora, count_parameters, new_model, remove_lora, use_adapter
from minitl.adapters.layer import LoraLinear
from minitl.adapters.targets import find_targets
from minitl.errors import InputError
from tests.adapters.tiny import CONFIGS, IDS, TASKS, outputs, tiny, train_a_little

every_model = pytest.mark.parametrize(("family", "task"), TASKS)


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@every_model
def test_a_fresh_adapter_changes_no_output(family: str, task: str) -> None:
    model = tiny(family, task)
    before = outputs(model)
    add_lora(model, LoraConfig(target_modules="all-linear"))
    # Not bit for bit: the operator may take another product for the same base.
    torch.testing.assert_close(outputs(model), before, rtol=1e-6, atol=1e-6)
    train_a_little(model)
    assert not torch.allclose(outputs(model), before)


@every_model
def test_only_the_adapter_and_a_classification_head_learn(family: str, task: str) -> None:
    model = tiny(family, task)
    add_lora(model, LoraConfig())
    names = learning(model)
    updates = {name for name in names if name.rpartition(".")[2] in ("lora_A", "lora_B")}
    head = {name for name in names if name.startswith("head.")}
    assert updates
    assert names == updates | head
    assert bool(head) == (task == "sequence-classification")
    output = model(IDS)
    (output.last_hidden_state if output.logits is None else output.logits).square().sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == names


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        ("lora_only", {"layers.0.attention.query.bias", "layers.1.attention.query.bias"}),
        ("all", {name for name, _ in tiny("bert", "backbone").named_parameters() if name.endswith(".bias")}),
    ],
)
def test_biases_learn_where_the_config_says_so(bias: str, expected: set[str]) -> None:
    model = tiny("bert", "backbone")
    add_lora(model, LoraConfig(target_modules=["query"], bias=bias))  # type: ignore[arg-type]
    assert {name for name in learning(model) if name.endswith(".bias")} == expected


def test_modules_to_save_learn_in_full_by_published_or_uniform_name() -> None:
    for name in ("pooler.dense", "bert.pooler", "pooler"):
        model = tiny("bert", "sequence-classification")
        add_lora(model, LoraConfig(modules_to_save=[name]))
        assert {"pooler.dense.weight", "pooler.dense.bias", "head.classifier.weight"} <= learning(model)


def test_an_unknown_module_to_save_lists_the_candidates() -> None:
    with pytest.raises(InputError, match=r"'poller'.*pooler\.dense"):
        add_lora(tiny("bert", "sequence-classification"), LoraConfig(modules_to_save=["poller"]))


def test_a_layer_cannot_be_both_a_target_and_saved() -> None:
    model = tiny("bert", "sequence-classification")
    with pytest.raises(InputError, match=r"head\.classifier"):
        add_lora(model, LoraConfig(target_modules=["classifier"]))
    assert learning(model) == {name for name, _ in model.named_parameters()}


@every_model
def test_names_of_the_base_stay_and_the_key_map_knows_them(family: str, task: str) -> None:
    model = tiny(family, task)
    before = {name: model.key_map.to_published(name) for name, _ in model.named_parameters()}
    add_lora(model, LoraConfig(target_modules="all-linear"))
    after = {name: model.key_map.to_published(name) for name, _ in model.named_parameters() if "lora_" not in name}
    assert after == before


@every_model
def test_removing_restores_layers_outputs_and_what_learns(family: str, task: str) -> None:
    model = tiny(family, task)
    model.embeddings.requires_grad_(False)
    before, learned = {name: p.detach().clone() for name, p in model.named_parameters()}, learning(model)
    expected = outputs(model)
    add_lora(model, LoraConfig(target_modules="all-linear", bias="all", dropout=0.1))
    train_a_little(model)
    remove_lora(model)
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    assert {name: p.shape for name, p in model.named_parameters()} == {name: p.shape for name, p in before.items()}
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert learning(model) == learned
    assert torch.equal(outputs(model), expected)
    add_lora(model, LoraConfig())  # and it can be adapted anew


def test_adapters_are_chosen_by_name_and_none_means_the_base_alone() -> None:
    model = tiny("bert", "sequence-classification")
    base = outputs(model)
    add_lora(model, LoraConfig(r=2, bias="all"), name="first")
    train_a_little(model)
    first = outputs(model)
    add_lora(model, LoraConfig(r=3, target_modules=["key", "query"]), name="second")
    assert torch.equal(outputs(model), base)  # a fresh one starts from the base, whatever the others learned
    train_a_little(model)
    second = outputs(model)
    assert not any(".first." in name for name in learning(model))
    use_adapter(model, None)
    assert torch.equal(outputs(model), base)
    assert learning(model) == set()
    use_adapter(model, "first")
    assert torch.equal(outputs(model), first)
    assert "head.classifier.weight" in learning(model)
    use_adapter(model, "second")
    assert torch.equal(outputs(model), second)


def test_an_optimizer_made_before_switching_away_still_trains_the_adapter() -> None:
    model = tiny("bert", "sequence-classification")
    add_lora(model, LoraConfig())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    use_adapter(model, None)
    use_adapter(model, "default")
    before = outputs(model)
    model(IDS).logits.square().sum().backward()
    optimizer.step()
    assert not torch.allclose(outputs(model), before)


def test_the_models_type_is_followed_by_tensors_out_of_place() -> None:
    model = tiny("bert", "sequence-classification")
    add_lora(model, LoraConfig(bias="all"))
    model.double()
    use_adapter(model, None)
    assert {parameter.dtype for name, parameter in model.named_parameters() if "lora_" not in name} == {torch.float64}


def test_a_copy_of_an_adapted_model_stands_for_itself() -> None:
    model = tiny("bert", "sequence-classification")
    add_lora(model, LoraConfig(bias="all"))
    train_a_little(model)
    expected = outputs(model)
    twin = copy.deepcopy(model)
    train_a_little(twin)
    use_adapter(twin, None)
    remove_lora(twin)
    assert torch.equal(outputs(model), expected)


def test_mistakes_in_names_and_order_are_refused() -> None:
    model = tiny("bert", "sequence-classification")
    with pytest.raises(InputError, match="no adapter"):
        use_adapter(model, "default")
    with pytest.raises(InputError, match="no adapter"):
        remove_lora(model)
    for name in ("", "a.b", "keys", "training", "_modules", 3):
        with pytest.raises(InputError, match="cannot be an adapter's name"):
            add_lora(model, LoraConfig(), name=name)
    add_lora(model, LoraConfig())
    with pytest.raises(InputError, match=r"takes a LoraConfig, got \{'r': 8\}"):
        add_lora(model, {"r": 8}, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'default' is placed already"):
        add_lora(model, LoraConfig())
    with pytest.raises(InputError, match="'other'; there are: default"):
        use_adapter(model, "other")


def test_parameters_are_counted_as_the_paper_counts_them() -> None:
    model = new_model(CONFIGS["gpt2"], "causal-lm")
    total = count_parameters(model).total
    assert total == sum(p.numel() for p in model.parameters())
    add_lora(model, LoraConfig(r=4))
    count = count_parameters(model)
    assert count.trainable == 2 * 4 * (16 + 48)  # two layers, c_attn [48, 16]
    assert count.total == total + count.trainable
    assert count.percent == pytest.approx(100 * count.trainable / count.total)


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_no_adapted_layer_is_refused(field: str) -> None:
    model = tiny("bert", "backbone")
    with pytest.raises(InputError, match=rf"{field} 'key' matches none.*attention.self.query \(attention.query\)"):
        add_lora(model, LoraConfig(target_modules=["query"], **{field: {"key": 4}}))  # type: ignore[arg-type]
    assert not any(isinstance(module, LoraLinear) for module in model.modules())


def test_patterns_give_layers_their_own_rank_and_strength() -> None:
    model = tiny("bert", "backbone")
    add_lora(
        model,
        LoraConfig(r=4, alpha=8, rank_pattern={r"layer\.1\..*": 2}, alpha_pattern={"self.value": 5}),
    )
    first, second = (layer.attention.query.adapters["default"] for layer in model.layers)
    assert (first.lora_A.shape[0], first.scaling) == (4, 2.0)
    assert (second.lora_A.shape[0], second.scaling) == (2, 4.0)
    assert model.layers[1].attention.value.adapters["default"].scaling == 2.5


@pytest.mark.parametrize("target", ["query", "word_embeddings"])
def test_hooks_of_a_layer_stay_with_it_and_can_be_removed(target: str) -> None:
    model = tiny("bert", "backbone")
    path = find_targets(model, [target])[0]
    calls = []
    handle = model.get_submodule(path).register_forward_hook(lambda *_: calls.append(path))
    add_lora(model, LoraConfig(target_modules=[target]))
    outputs(model)
    assert calls == [path]
    remove_lora(model)
    outputs(model)
    assert calls == [path, path]
    add_lora(model, LoraConfig(target_modules=[target]))
    handle.remove()
    outputs(model)
    assert calls == [path, path]
