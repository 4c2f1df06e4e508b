"""LoRA+ gives each tensor the rate and the decay that PEFT's optimiser gives it, live: `make test-reference`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from minitl import LoraConfig, add_lora, load_model
from minitl.training import LoraPlus, Settings
from minitl.training.optimizer import make_optimizer

pytestmark = pytest.mark.reference
pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")
peft = pytest.importorskip("peft", reason="the peer library lives in an environment of its own")

from tests.reference import peer  # noqa: E402 - it imports transformers, which may be absent

SIZES = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
}
FIELDS = {"vocab_size": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
RATE, RATIO, EMBEDDING_RATE, DECAY = 3e-4, 16.0, 2e-5, 0.02


def peers_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    from peft.optimizers import create_loraplus_optimizer

    return create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=RATE,
        loraplus_lr_ratio=RATIO,
        loraplus_lr_embedding=EMBEDDING_RATE,
        loraplus_weight_decay=DECAY,
    )


def by_name(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Each parameter's name, and the group that it is in."""
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {name: group_of[id(p)] for name, p in model.named_parameters() if id(p) in group_of}


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_rates_and_decays_equal_pefts(family: str, bias: str, tmp_path: Path) -> None:
    theirs = peer.build(family, "sequence-classification", {**SIZES[family], **FIELDS})
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(task_type="SEQ_CLS", bias=bias))
    add_lora(ours, LoraConfig(bias=bias))
    learn = {name for name, p in ours.named_parameters() if p.requires_grad}
    settings = Settings(learning_rate=RATE, weight_decay=DECAY)
    actual = {
        f"base_model.model.{ours.key_map.to_published(name.replace('.adapters.default', ''))}"
        + (".weight" if "lora_" in name else ""): (group["lr"], group["weight_decay"])
        for name, group in by_name(make_optimizer(ours, settings, learn, LoraPlus(RATIO)), ours).items()
    }
    expected = {
        name.replace(".default", "").replace(".modules_to_save", "").replace(".base_layer", ""): (
            group["lr"],
            group["weight_decay"],
        )
        for name, group in by_name(peers_optimizer(theirs), theirs).items()
    }
    assert actual == expected
    assert {rate for rate, _ in actual.values()} == {RATE, RATE * RATIO}


def test_embeddings_and_magnitudes_have_pefts_rates_too() -> None:
    theirs = peer.build("bert", "sequence-classification", {**SIZES["bert"], **FIELDS})
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["word_embeddings", "query"], use_dora=True)
    theirs = peft.get_peft_model(theirs, config)
    groups = by_name(peers_optimizer(theirs), theirs)
    for kind in ("lora_embedding_A", "lora_embedding_B", "lora_magnitude", "lora_A", "lora_B"):
        assert any(kind in name for name in groups)
    plus = LoraPlus(RATIO, EMBEDDING_RATE)
    for name, parameter in theirs.named_parameters():
        if name in groups:
            tensor = name.removesuffix(".weight").removesuffix(".default")  # theirs stand in dictionaries
            assert RATE * plus.scale(tensor, parameter, RATE) == pytest.approx(groups[name]["lr"]), name
