"""Every family's forward as one graph: compiled by inductor without a break, and exported for batches of any shape.

The families are those of the registry, each with its stored tiny checkpoints.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from minitl import load_model
from minitl.models.base import Model
from minitl.models.registry import MODULES, family_of
from tests.reference import comparison

pytestmark = pytest.mark.slow

STORED = Path(__file__).parents[1] / "reference" / "checkpoints"
# The head that shows most of a family: its language model's, where it has one.
FIRST = {
    family: next((t for t in ("seq2seq-lm", "causal-lm", "masked-lm") if t in family_of(family).heads), "backbone")
    for family in MODULES
}
HEADS = [(family, task) for family in MODULES for task in ("backbone", *family_of(family).heads)]
padded_or_not = pytest.mark.parametrize("padded", [False, True], ids=["no mask", "padding"])
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler: g++")


def stored(family: str, task: str) -> Model:
    """The first stored tiny checkpoint of a family with this head."""
    for folder in sorted(STORED.iterdir()):
        is_of = json.loads((folder / "config.json").read_text())["model_type"] == family
        if is_of and json.loads((folder / "reference.json").read_text())["task"] == task:
            return load_model(folder, task)
    raise AssertionError(f"no tiny checkpoint of {family} with the head {task}")


def draw(model: Model, rows: int, length: int, padded: bool) -> dict[str, Tensor]:
    """Token ids, with padding of another length in each row where it is wanted; and what else the family must have."""
    inputs = {"input_ids": torch.randint(5, 40, (rows, length))}
    if padded:
        inputs["attention_mask"] = (torch.arange(length) < length - 2 * torch.arange(rows)[:, None]).long()
    if "decoder_input_ids" in model.family.inputs and getattr(model, "decoder", None) is not None:
        if model.task == "sequence-classification":  # reads the decoder where the source ends, and so shifts the source
            inputs["input_ids"][:, 0] = model.config.eos_token_id
        else:
            inputs["decoder_input_ids"] = torch.randint(5, 40, (rows, length - 2))
    return inputs


@torch.no_grad()
def tensors(model: torch.nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in model(**inputs).items() if isinstance(value, Tensor)}


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert actual
    errors = {name: comparison.relative_error(actual[name], expected[name]) for name in expected}
    comparison.assert_below(errors, 1e-5)


@needs_compiler
@padded_or_not
@pytest.mark.parametrize("family", MODULES)
def test_inductor_compiles_the_forward_without_a_break(family: str, padded: bool) -> None:
    model = stored(family, FIRST[family])
    inputs = draw(model, 3, 9, padded)
    expected = tensors(model, inputs)
    torch._dynamo.reset()
    assert_same(tensors(torch.compile(model, fullgraph=True), inputs), expected)


@padded_or_not
@pytest.mark.parametrize(("family", "task"), HEADS)
def test_every_head_is_one_graph(family: str, task: str, padded: bool) -> None:
    model = stored(family, task)
    inputs = draw(model, 3, 9, padded)
    expected = tensors(model, inputs)
    torch._dynamo.reset()
    assert_same(tensors(torch.compile(model, fullgraph=True, backend="eager"), inputs), expected)


@padded_or_not
@pytest.mark.parametrize("family", MODULES)
def test_the_exported_forward_takes_batches_of_other_shapes(family: str, padded: bool, tmp_path: Path) -> None:
    model = stored(family, FIRST[family])
    inputs = draw(model, 3, 9, padded)
    shapes = dict.fromkeys(inputs, (Dim("batch"), Dim.DYNAMIC))  # one batch, each side of another length
    with torch.no_grad():
        program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "program.pt2")
    exported = torch.export.load(tmp_path / "program.pt2").module()
    for rows, length in ((3, 9), (4, 13), (2, 7)):  # never even: ModernBERT's graph is of a last block that is not full
        others = draw(model, rows, length, padded)
        assert_same(tensors(exported, others), tensors(model, others))


def test_a_compiled_mask_hides_what_it_hides() -> None:
    """The question whether a mask hides anything is asked anew of each batch, or not at all."""
    model = stored("bert", "backbone")
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    inputs = draw(model, 3, 9, padded=True)
    whole = inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])}
    for batch in (whole, inputs, whole):
        assert_same(tensors(compiled, batch), tensors(model, batch))
