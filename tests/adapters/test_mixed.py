"""Several adapters in one batch: each row is what its adapter alone makes of it, forward and backward."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minitl import LoraConfig, add_lora, generate, load_adapter, merge_lora, remove_lora, save_adapter, use_adapter
from minitl.adapters.mixed import Reading, _CheckedRows
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.unpadding import forward_unpadded
from tests.adapters.tiny import IDS, TASKS, outputs, tiny, train_a_little

every_model = pytest.mark.parametrize(("family", "task"), TASKS)
ROWS = torch.cat((IDS, IDS + 2, IDS.flip(0) + 3))  # [6, 5]
NAMES = ["a", "b", None, "a", "c", "b"]
TABLES = {"deberta-v2": ["embeddings.token"], "modernbert": ["embeddings.token"], "llama": ["embeddings.token"]}


def three_adapters(family: str, task: str, **fields: object) -> Model:
    """Unlike in rank, layers, biases and saved modules."""
    model = tiny(family, task)
    tables = {"t5": ["embeddings.token", "positions.table"], "bart": ["embeddings.token", "encoder.positions"]}
    named = tables.get(family, TABLES.get(family, ["embeddings.token", "embeddings.position"]))
    configs = {
        "a": LoraConfig(r=2, target_modules="all-linear", bias="all", **fields),  # type: ignore[arg-type]
        "b": LoraConfig(r=3, target_modules=[*named, "attention.output"], use_dora=True),
        "c": LoraConfig(r=20, modules_to_save=["feed_forward.down"]),
    }
    for name, config in configs.items():
        add_lora(model, config, name)
        train_a_little(model)
    return model


def answers(model: Model, ids: Tensor) -> Tensor:
    out = model(ids)
    return out.last_hidden_state if out.logits is None else out.logits


@every_model
def test_each_row_is_what_its_adapter_alone_makes_of_it(family: str, task: str) -> None:
    model = three_adapters(family, task)
    expected = []
    for i, name in enumerate(NAMES):
        use_adapter(model, name)
        with torch.no_grad():
            expected.append(answers(model, ROWS[i : i + 1]))
    use_adapter(model, NAMES)
    with torch.no_grad():
        torch.testing.assert_close(answers(model, ROWS), torch.cat(expected), rtol=1e-5, atol=1e-5)
    assert len({tuple(rows.flatten()[:4].tolist()) for rows in expected}) == len(NAMES)


@every_model
def test_each_adapter_gets_the_gradients_of_its_rows(family: str, task: str) -> None:
    model = three_adapters(family, task)
    use_adapter(model, NAMES)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    answers(model, ROWS).square().sum().backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name in learning - learned if not name.startswith("pooler.")} == set()
    assert learned <= learning
    mixed = gradients(model)
    assert {name for name, _ in mixed} == {"a", "b", "c"}
    for name in ("a", "b", "c"):
        use_adapter(model, name)
        model.zero_grad()
        answers(model, ROWS[[i for i, n in enumerate(NAMES) if n == name]]).square().sum().backward()
        alone = gradients(model)
        for key in mixed:
            if key[0] == name:
                scale = float(mixed[key].abs().max())
                torch.testing.assert_close(mixed[key], alone[key], rtol=1e-4, atol=1e-4 * max(scale, 1e-3))


def gradients(model: Model) -> dict[tuple[str, str], Tensor]:
    """Of every adapter's tensors, by its name and theirs; of those that have one."""
    found: dict[tuple[str, str], Tensor] = {}
    for name, adapter in model.lora.held.items():
        tensors = dict(adapter.own)
        for path in adapter.places:
            update = model.get_submodule(path).adapters[name]
            tensors |= {f"{path}.{kind}": parameter for kind, parameter in update.named_parameters()}
        found |= {(name, key): p.grad.clone() for key, p in tensors.items() if p.grad is not None}
        for parameter in tensors.values():
            parameter.grad = None
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
def test_any_choice_of_rows(names: list[str | None]) -> None:
    model = _SHARED
    expected = []
    for i, name in enumerate(names):
        use_adapter(model, name)
        expected.append(outputs_of(model, ROWS[i : i + 1]))
    use_adapter(model, names)
    torch.testing.assert_close(outputs_of(model, ROWS[: len(names)]), torch.cat(expected), rtol=1e-5, atol=1e-5)


def outputs_of(model: Model, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return answers(model, ids)


_SHARED = three_adapters("bert", "sequence-classification")


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize(("family", "task"), [("gpt2", "causal-lm"), ("llama", "causal-lm"), ("bart", "seq2seq-lm")])
def test_each_row_is_written_as_with_its_adapter_alone(family: str, task: str, num_beams: int) -> None:
    model = three_adapters(family, task)
    options = {"max_new_tokens": 6, "num_beams": num_beams, "min_new_tokens": 6}
    mask = torch.ones_like(ROWS)
    mask[1, :2] = 0
    mask[4, :1] = 0
    expected = []
    for i, name in enumerate(NAMES):
        use_adapter(model, name)
        expected.append(generate(model, ROWS[i : i + 1], mask[i : i + 1], **options))
    use_adapter(model, NAMES)
    assert torch.equal(generate(model, ROWS, mask, **options), torch.cat(expected))
    # without padding, the positions are the same for all rows
    use_adapter(model, "b")
    alone = generate(model, ROWS[[1, 5]], **options)
    use_adapter(model, NAMES)
    assert torch.equal(generate(model, ROWS, **options)[[1, 5]], alone)


def test_dropouts_of_the_adapters_act_in_training_alone() -> None:
    model = three_adapters("bert", "sequence-classification", dropout=0.5)
    use_adapter(model, NAMES)
    still = outputs_of(model, ROWS)
    model.train()
    assert not torch.allclose(outputs_of(model, ROWS)[0], still[0])
    assert torch.equal(outputs_of(model.eval(), ROWS), still)


def test_rows_with_updates_alone_drop_nothing_in_a_model_that_does_not_train() -> None:
    model = tiny("bert", "sequence-classification").eval()
    for name in ("a", "b"):
        add_lora(model, LoraConfig(r=3, dropout=0.5, target_modules=["query"]), name)
        train_a_little(model)
    model.eval()
    names, expected = ["a", "b"] * 3, []
    for i, name in enumerate(names):
        use_adapter(model, name)
        expected.append(outputs_of(model, ROWS[i : i + 1]))
    use_adapter(model, names)
    torch.testing.assert_close(outputs_of(model, ROWS), torch.cat(expected), rtol=1e-5, atol=1e-5)
    model.train()
    use_adapter(model, names)
    assert not torch.allclose(outputs_of(model, ROWS), torch.cat(expected), rtol=1e-3, atol=1e-3)


def test_beams_are_as_many_for_each_text() -> None:
    class Cached:
        length = 3

    class Echo:
        def encode(self, input_ids: Tensor, **_: object) -> Tensor:
            return input_ids

    reading = Reading(["a", None, "b"])
    checked = _CheckedRows(Echo(), reading)  # type: ignore[arg-type]
    beams = torch.zeros(6, 1)
    assert checked(beams, cache=Cached()) is beams
    assert reading.continuations == 2
    with pytest.raises(InputError, match="7 rows"):
        checked(torch.zeros(7, 1), cache=Cached())


def test_another_number_of_rows_is_refused_with_both_numbers() -> None:
    model = three_adapters("gpt2", "causal-lm")
    use_adapter(model, NAMES)
    for rows in (ROWS[:3], ROWS.repeat(2, 1)):
        with pytest.raises(InputError, match=f"{len(rows)} rows, but use_adapter was given the adapters of 6"):
            model(rows)
        with pytest.raises(InputError, match=f"{len(rows)} rows"):
            generate(model, rows, max_new_tokens=2)


def test_what_cannot_be_mixed_is_refused() -> None:
    model = three_adapters("bert", "backbone")
    with pytest.raises(InputError, match="'other'; there are: a, b, c"):
        use_adapter(model, ["a", "other"])
    with pytest.raises(InputError, match="no name"):
        use_adapter(model, [])
    with pytest.raises(InputError, match="a list of names or None, got 3"):
        use_adapter(model, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no adapter is called \['a'\]"):
        use_adapter(model, [["a"]])  # type: ignore[list-item]
    with pytest.raises(InputError, match="a list of names or None"):
        use_adapter(model, {"a": 1})  # type: ignore[arg-type]
    use_adapter(model, NAMES)
    with pytest.raises(InputError, match="mixed in one batch"):
        merge_lora(model)
    with pytest.raises(InputError, match="before another is placed"):
        add_lora(model, LoraConfig(), "d")
    with pytest.raises(InputError, match="rows in another order"):
        forward_unpadded(model, ROWS, torch.ones_like(ROWS))
    use_adapter(model, "a")
    merge_lora(model)
    with pytest.raises(InputError, match="is merged into the weights"):
        use_adapter(model, NAMES)
    deberta = tiny("deberta-v2", "backbone")
    add_lora(deberta, LoraConfig(modules_to_save=["rel_embeddings"]), "table")
    with pytest.raises(InputError, match="is read as a whole"):
        use_adapter(deberta, ["table", None])
    use_adapter(deberta, "table")


def test_mixing_leaves_no_trace(tmp_path: Path) -> None:
    model = three_adapters("deberta-v2", "sequence-classification")
    names = [name for name, _ in model.named_parameters()]
    use_adapter(model, "b")
    expected = outputs(model)
    use_adapter(model, NAMES)
    save_adapter(model, tmp_path, "b")  # possible meanwhile
    twin, mixed = copy.deepcopy(model), outputs_of(model, ROWS)
    assert torch.equal(outputs_of(twin, ROWS), mixed)
    train_a_little(twin)
    use_adapter(model, "b")
    assert torch.equal(outputs(model), expected)
    assert [name for name, _ in model.named_parameters()] == names
    use_adapter(model, NAMES)
    with pytest.raises(InputError, match="before another is placed"):
        load_adapter(model, tmp_path, "again")
    assert torch.equal(outputs_of(model, ROWS), mixed)  # as they were
    use_adapter(model, None)
    load_adapter(model, tmp_path, "again")
    assert torch.equal(outputs(model), expected)
    use_adapter(model, NAMES)
    remove_lora(model)
    assert torch.equal(outputs(model), outputs(tiny("deberta-v2", "sequence-classification")))


def test_an_optimizer_made_while_mixed_trains_all() -> None:
    model = three_adapters("bert", "sequence-classification")
    use_adapter(model, NAMES)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = outputs_of(model, ROWS)
    answers(model, ROWS).square().sum().backward()
    optimizer.step()
    after = outputs_of(model, ROWS)
    base = NAMES.index(None)
    assert torch.equal(after[base], before[base])
    assert all(not torch.allclose(after[i], before[i]) for i in range(len(NAMES)) if i != base)
