"""Adapters of PEFT act here as they do there, and ours act there, live: `make test-reference`."""

import copy
import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minitl import LoraConfig, add_lora, load_adapter, load_model, merge_lora, save_adapter
from minitl.adapters.targets import TASKS_WITH_OWN_HEAD, layer_name
from minitl.errors import InputError
from minitl.models.base import Model

pytestmark = pytest.mark.reference
pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")
peft = pytest.importorskip("peft", reason="the peer library lives in an environment of its own")

from tests.reference import comparison, peer  # noqa: E402 - peer imports transformers, which may be absent

TASK_TYPES = {
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "backbone": "FEATURE_EXTRACTION",
}
PAIRS = [(family, task) for family, tasks in peer.TASKS.items() for task in tasks]
# By the families' own names: some linear layers, tables, and a module to save.
NAMES: dict[str, tuple[list[str], list[str], str]] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "electra"),
        (["key", "output.dense"], ["word_embeddings", "position_embeddings"], "intermediate.dense"),
    ),
    "distilbert": (["k_lin", "ffn.lin2"], ["word_embeddings", "position_embeddings"], "ffn.lin1"),
    "deberta-v2": (["key_proj", "output.dense"], ["word_embeddings"], "intermediate.dense"),
    "modernbert": (["Wqkv", "mlp.Wo"], ["tok_embeddings"], "mlp.Wi"),
    "gpt2": (["c_attn", "mlp.c_proj"], ["wte", "wpe"], "c_fc"),
    **dict.fromkeys(("llama", "mistral"), (["k_proj", "down_proj"], ["embed_tokens"], "up_proj")),
    **dict.fromkeys(("t5", "mt5"), (["k", "wo"], ["embed_tokens", "relative_attention_bias"], "SelfAttention.o")),
    **dict.fromkeys(("bart", "mbart", "pegasus", "m2m_100"), (["encoder_attn.q_proj", "fc2"], ["embed_tokens"], "fc1")),
}
FIRST_LAYER = r"(layer|layers|h|block)\.0\..*"
ALL_LINEAR, LINEARS, TABLES, SAVED = "all-linear", "linears", "tables", "saved"  # to be looked up in NAMES
REFUSED = ("distilbert", "sequence-classification")  # by the peer: "all-linear" has the head that is to be saved
KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"target_modules": ALL_LINEAR, "r": 5, "use_rslora": True, "dropout": 0.3},
    "all biases": {"target_modules": LINEARS, "bias": "all", "r": 20},
    "its layers' biases": {"target_modules": LINEARS, "bias": "lora_only", "alpha": 3.5},
    "dora": {"target_modules": LINEARS, "use_dora": True, "dropout": 0.2, "bias": "lora_only"},
    "patterns": {
        "target_modules": ALL_LINEAR,
        "rank_pattern": {FIRST_LAYER: 3, LINEARS: 5},
        "alpha_pattern": {
            LINEARS: 2.5,
            "~?.*": 20,
        },  # the peer sorts them in its file, and the first that matches counts
    },
    "tables": {"target_modules": TABLES, "r": 3},
    "tables, dora": {"target_modules": TABLES, "r": 3, "use_dora": True, "rank_pattern": {".*word_embeddings|wte": 5}},
    "saved modules": {"target_modules": LINEARS, "modules_to_save": SAVED},
}
CASES = [(family, task, kind) for family, task in PAIRS for kind in KINDS]
every_case = pytest.mark.parametrize(("family", "task", "kind"), CASES)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.enable_progress_bar()


def build(family: str, task: str, folder: Path) -> tuple[Any, Model, dict[str, Tensor]]:
    """The same random model on both sides, and inputs for it."""
    torch.manual_seed(1)
    theirs = peer.build(family, task, peer.draw_fields(family, task, random.Random(f"{family} {task}")))
    theirs.save_pretrained(folder / "base")
    theirs = peer.model_class(family, task).from_pretrained(folder / "base", attn_implementation="eager")
    return theirs.eval(), load_model(folder / "base"), peer.draw_inputs(theirs, [7, 4, 9], "right")


def fields_for(family: str, task: str, kind: str) -> dict[str, Any]:
    """LoraConfig's fields of one kind, those that differ between families chosen."""
    linears, tables, saved = NAMES[family]
    if family in peer.ENCODER_DECODERS and task == "token-classification":  # an encoder alone
        linears = [name.replace("encoder_attn", "self_attn") for name in linears]
    fields = copy.deepcopy(KINDS[kind])
    named = {LINEARS: linears, TABLES: [linears[0], *tables], ALL_LINEAR: ALL_LINEAR}
    fields["target_modules"] = named[fields["target_modules"]]
    refused = task in ("token-classification", "question-answering") or (family, task) == REFUSED
    if fields["target_modules"] == ALL_LINEAR and refused:
        fields["target_modules"] = list(linears)  # the peer refuses its own choice of layers there
    if "modules_to_save" in fields:
        fields["modules_to_save"] = [saved]
    for pattern in ("rank_pattern", "alpha_pattern"):
        if pattern in fields:
            chosen = {linears[0] if key == LINEARS else key: value for key, value in fields[pattern].items()}
            if "word_embeddings" in next(iter(chosen)) and not {"word_embeddings", "wte"} & set(tables):
                chosen = {tables[0]: 5}
            fields[pattern] = chosen
    return fields


def peft_config(task: str, fields: dict[str, Any]) -> Any:
    renamed = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
    task_type = TASK_TYPES.get(task)
    return peft.LoraConfig(task_type=task_type, **{renamed.get(key, key): value for key, value in fields.items()})


def train_a_little(model: nn.Module) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def outputs(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the task puts out, of either library."""
    if isinstance(model, peft.PeftModel):
        model = model.get_base_model()  # with its adapter; the wrapper for questions does not pass token types on
    with torch.no_grad():
        out = model.eval()(**inputs)
    names = ("logits", "start_logits", "end_logits", "last_hidden_state")
    found = {name: getattr(out, name) for name in names if getattr(out, name, None) is not None}
    return {name: value for name, value in found.items() if len(found) == 1 or name != "last_hidden_state"}


def assert_near(actual: dict[str, Tensor], expected: dict[str, Tensor], inputs: dict[str, Tensor]) -> None:
    comparison.assert_below(comparison.output_errors(actual, expected, inputs), 1e-5)


def changed(after: dict[str, Tensor], before: dict[str, Tensor], inputs: dict[str, Tensor]) -> bool:
    return max(comparison.output_errors(after, before, inputs).values()) > 0.01


@every_case
def test_pefts_adapters_act_here_as_there(family: str, task: str, kind: str, tmp_path: Path) -> None:
    theirs, ours, inputs = build(family, task, tmp_path)
    base = outputs(ours, inputs)
    assert_near(base, outputs(theirs, inputs), inputs)
    adapted = peft.get_peft_model(theirs, peft_config(task, fields_for(family, task, kind)))
    train_a_little(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    expected = outputs(adapted, inputs)
    assert changed(expected, base, inputs)
    load_adapter(ours, tmp_path / "adapter")
    assert_near(outputs(ours, inputs), expected, inputs)
    if kind.startswith("tables") and ours.lora.parted:
        with pytest.raises(InputError, match="encoder and decoder read one table"):
            merge_lora(ours)
    else:
        merge_lora(ours)
    assert_near(outputs(ours, inputs), expected, inputs)


@every_case
def test_our_adapters_act_there_as_here(family: str, task: str, kind: str, tmp_path: Path) -> None:
    theirs, ours, inputs = build(family, task, tmp_path)
    add_lora(ours, LoraConfig(**fields_for(family, task, kind)))
    train_a_little(ours)
    save_adapter(ours, tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
    assert_near(outputs(adapted, inputs), outputs(ours, inputs), inputs)
    # and nothing in the file was left over: the peer writes the same adapter back
    adapted.save_pretrained(tmp_path / "again")
    fresh = load_model(tmp_path / "base")
    load_adapter(fresh, tmp_path / "again")
    again, before = outputs(fresh, inputs), outputs(ours, inputs)
    assert all(torch.equal(again[name], before[name]) for name in before)


@pytest.mark.parametrize(("family", "task"), PAIRS)
@pytest.mark.parametrize("targets", [None, ALL_LINEAR])
def test_layers_chosen_without_names_are_pefts(family: str, task: str, targets: str | None, tmp_path: Path) -> None:
    """All of the peer's, but those of a new head, which is trained in full here."""
    theirs, ours, _ = build(family, task, tmp_path)
    try:
        adapted = peft.get_peft_model(theirs, peft_config(task, {"target_modules": targets}))
    except (ValueError, TypeError) as error:  # no default for the family, or its own choice refused
        if not re.search("Please specify `target_modules`|modules_to_save cannot be applied", str(error)):
            raise
        pytest.skip(str(error))
    add_lora(ours, LoraConfig(target_modules=targets))
    expected = {name.split(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A" in name}
    if task in TASKS_WITH_OWN_HEAD:
        head = {f"base_model.model.{layer_name(ours, f'head.{path}')}" for path, _ in ours.head.named_modules()}
        expected -= head
    if targets == ALL_LINEAR and task == "masked-lm" and getattr(theirs, "legacy", True) is False:
        expected.add("base_model.model.lm_predictions.lm_head.dense")  # which the peer takes for the output layer
    places = ours.lora.held["default"].places
    assert {f"base_model.model.{layer_name(ours, path)}" for path in places} == expected


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("kind", ["rslora", "dora", "tables", "tables, dora"])
def test_loss_gradients_equal_pefts(family: str, kind: str, tmp_path: Path) -> None:
    task = "backbone"
    theirs, ours, inputs = build(family, task, tmp_path)
    adapted = peft.get_peft_model(theirs, peft_config(task, fields_for(family, task, kind) | {"dropout": 0.0}))
    train_a_little(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    load_adapter(ours, tmp_path / "adapter")
    inputs = peer.draw_inputs(theirs, [6, 6], "right")
    for model in (adapted, ours):
        out = model.train()(**inputs)
        real = inputs.get("decoder_attention_mask", inputs["attention_mask"])
        states = [out.last_hidden_state * real[..., None], getattr(out, "pooler_output", None)]
        sum((x * torch.linspace(-1, 1, x.shape[-1])).square().sum() for x in states if x is not None).backward()
    marks = {".default": "", ".base_layer": "", ".lora_magnitude_vector.weight": ".lora_magnitude_vector"}
    expected: dict[str, Tensor] = {}
    for name, parameter in adapted.named_parameters():
        for mark, plain in marks.items():
            name = name.replace(mark, plain)
        if parameter.requires_grad:
            expected[name] = parameter.grad
    actual: dict[str, Tensor] = {}
    for name, parameter in ours.named_parameters():
        path, _, update = name.partition(".adapters.default.")
        if parameter.requires_grad:
            weight = ".weight" if update in ("lora_A", "lora_B") else ""
            ours_name = f"{layer_name(ours, path)}.{update}{weight}" if update else ours.key_map.to_published(name)
            actual[f"base_model.model.{ours_name}"] = parameter.grad
    assert set(actual) == set(expected)
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in actual.items():
        largest = float(expected[name].abs().max())
        error = float((gradient - expected[name]).abs().max()) / (largest if largest > 1e-4 * scale else scale)
        assert error < 1e-4, f"{name}: {error:.1e}"
