"""Adapters of PEFT act here as they do there, and ours act there, live: `make test-reference`."""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minitl import LoraConfig, add_lora, load_adapter, load_model, merge_lora, save_adapter
from minitl.models.base import Model

pytestmark = pytest.mark.reference
pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")
peft = pytest.importorskip("peft", reason="the peer library lives in an environment of its own")

from tests.reference import peer  # noqa: E402 - it imports transformers, which may be absent

SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "deberta-v2": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "share_att_key": True,
        "position_buckets": 4,
        "max_relative_positions": 10,
        "norm_rel_ebd": "layer_norm",
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 24,
        "attention_bias": True,
    },
    "t5": {
        "d_model": 16,
        "d_kv": 6,
        "d_ff": 24,
        "num_layers": 1,
        "num_decoder_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    },
    "bart": {
        "d_model": 16,
        "max_position_embeddings": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 20,
    },
}
ENCODER_DECODERS = ("t5", "bart")
TASKS = {
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "causal-lm": "CAUSAL_LM",
    "masked-lm": None,
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "backbone": "FEATURE_EXTRACTION",
}
HEADS = [
    *((family, task) for family in SIZES for task in ("sequence-classification", "backbone")),
    *((family, "token-classification") for family in SIZES if "token-classification" in peer.TASKS[family]),
    *((family, "seq2seq-lm") for family in ENCODER_DECODERS),
    ("bert", "masked-lm"),
    ("gpt2", "causal-lm"),
    ("llama", "causal-lm"),
]
SOME_LINEARS = {
    "bert": ["key", "output.dense"],
    "deberta-v2": ["key_proj", "output.dense"],
    "gpt2": ["c_attn", "mlp.c_proj"],
    "llama": ["k_proj", "down_proj"],
    "t5": ["k", "wo"],
    "bart": ["k_proj", "encoder_attn.q_proj", "fc2"],
}
NAMED = {"t5": ["q", "v"], "bart": ["q_proj", "v_proj"]}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"r": 5, "use_rslora": True, "dropout": 0.3},
    "all biases": {"bias": "all", "r": 20},
    "its layers' biases": {"bias": "lora_only", "alpha": 3.5},
    "some linears": {"target_modules": SOME_LINEARS},
    "saved modules": {
        "modules_to_save": {
            "bert": ["intermediate.dense"],
            "deberta-v2": ["intermediate.dense"],
            "gpt2": ["c_fc", "wte"],
            "llama": ["embed_tokens"],
            "t5": ["wi"],
            "bart": ["fc1"],
        }
    },
}
CASES = [(*head, kind) for head in HEADS for kind in KINDS]
every_case = pytest.mark.parametrize(("family", "task", "kind"), CASES)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.enable_progress_bar()


def build(family: str, task: str, folder: Path) -> tuple[Any, Model]:
    """The same random model on both sides."""
    fields = {"vocab_size": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(1)
    theirs = peer.build(family, task, {**SIZES[family], **fields})
    theirs.save_pretrained(folder / "base")
    theirs = peer.model_class(family, task).from_pretrained(folder / "base", attn_implementation="eager")
    return theirs.eval(), load_model(folder / "base")


def fields_for(family: str, kind: str) -> dict[str, Any]:
    """LoraConfig's fields of one kind, those that differ between families chosen."""
    chosen = {key: value[family] if isinstance(value, dict) else value for key, value in KINDS[kind].items()}
    return copy.deepcopy(chosen)  # the peer appends to the lists that it is given


def peft_config(task: str, fields: dict[str, Any]) -> Any:
    renamed = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
    return peft.LoraConfig(task_type=TASKS[task], **{renamed.get(key, key): value for key, value in fields.items()})


def train_a_little(model: nn.Module) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))


def inputs_for(family: str, task: str) -> dict[str, Tensor]:
    """Two texts, padded on the right and closed by the end token, and for those who write, what they are to write."""
    ids = torch.tensor([[7, 8, 9, 10, 2, 0, 0], [12, 13, 14, 15, 16, 17, 2]])
    mask = (ids != 0).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    if family in ENCODER_DECODERS and task in ("backbone", "seq2seq-lm"):
        inputs |= {"decoder_input_ids": ids + 20, "decoder_attention_mask": mask}
    return inputs


@torch.no_grad()
def outputs(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    out = model.eval()(**inputs)
    answer = getattr(out, "logits", None)
    answer = out.last_hidden_state if answer is None else answer
    return answer if answer.dim() == 2 else answer[inputs["attention_mask"].bool()]


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@every_case
def test_pefts_adapters_act_here_as_there(family: str, task: str, kind: str, tmp_path: Path) -> None:
    theirs, ours = build(family, task, tmp_path)
    inputs = inputs_for(family, task)
    base = outputs(ours, inputs)
    assert_near(base, outputs(theirs, inputs))
    adapted = peft.get_peft_model(theirs, peft_config(task, fields_for(family, kind)))
    train_a_little(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    expected = outputs(adapted, inputs)
    assert float((expected - base).abs().max()) > 0.01 * float(base.abs().max())
    load_adapter(ours, tmp_path / "adapter")
    assert_near(outputs(ours, inputs), expected)
    merge_lora(ours)
    assert_near(outputs(ours, inputs), expected)


@every_case
def test_our_adapters_act_there_as_here(family: str, task: str, kind: str, tmp_path: Path) -> None:
    theirs, ours = build(family, task, tmp_path)
    add_lora(ours, LoraConfig(**fields_for(family, kind)))
    train_a_little(ours)
    save_adapter(ours, tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
    inputs = inputs_for(family, task)
    assert_near(outputs(adapted, inputs), outputs(ours, inputs))
    # and nothing in the file was left over: the peer writes the same adapter back
    adapted.save_pretrained(tmp_path / "again")
    fresh = load_model(tmp_path / "base")
    load_adapter(fresh, tmp_path / "again")
    assert torch.equal(outputs(fresh, inputs), outputs(ours, inputs))


@pytest.mark.parametrize(("family", "task"), HEADS)
def test_default_targets_are_pefts(family: str, task: str, tmp_path: Path) -> None:
    theirs, ours = build(family, task, tmp_path)
    adapted = peft.get_peft_model(theirs, peft_config(task, {}))
    add_lora(ours, LoraConfig())
    marks = (".lora_A", ".lora_B")
    expected = {name.split(m)[0] for name, _ in adapted.named_parameters() for m in marks if m in name}
    actual = {name.split(".adapters.")[0] for name, _ in ours.named_parameters() if ".adapters." in name}
    assert {f"base_model.model.{ours.key_map.to_published(path)}" for path in actual} == expected


@pytest.mark.parametrize("family", ENCODER_DECODERS)
@pytest.mark.parametrize("targets", ["all-linear", NAMED], ids=["all-linear", "named"])
def test_targets_named_as_there_are_the_same_layers(family: str, targets: Any, tmp_path: Path) -> None:
    theirs, ours = build(family, "seq2seq-lm", tmp_path)
    targets = targets[family] if isinstance(targets, dict) else targets
    adapted = peft.get_peft_model(theirs, peft_config("seq2seq-lm", {"target_modules": targets}))
    train_a_little(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    add_lora(ours, LoraConfig(target_modules=targets), "own")
    load_adapter(ours, tmp_path / "adapter", "theirs")
    assert ours.lora.held["own"].places == ours.lora.held["theirs"].places
    inputs = inputs_for(family, "seq2seq-lm")
    assert_near(outputs(ours, inputs), outputs(adapted, inputs))


@pytest.mark.parametrize("family", SIZES)
def test_loss_gradients_equal_pefts(family: str, tmp_path: Path) -> None:
    theirs, ours = build(family, "sequence-classification", tmp_path)
    fields = {"target_modules": SOME_LINEARS[family], "r": 3}
    adapted = peft.get_peft_model(theirs, peft_config("sequence-classification", fields))
    train_a_little(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    load_adapter(ours, tmp_path / "adapter")
    ids = torch.tensor([[7, 8, 9, 10, 2], [12, 13, 14, 15, 2]])
    for model in (adapted, ours):
        model.train()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    expected = {
        name.replace(".default", "").replace(".modules_to_save", ""): p.grad
        for name, p in adapted.named_parameters()
        if p.grad is not None
    }
    actual = {
        f"base_model.model.{ours.key_map.to_published(name)}".replace(".adapters.default", "")
        + (".weight" if "lora_" in name else ""): p.grad
        for name, p in ours.named_parameters()
        if p.grad is not None
    }
    assert set(actual) == set(expected)
    for name, gradient in actual.items():
        assert_near(gradient, expected[name])
