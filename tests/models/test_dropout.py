"""Where each rate of a config drops: at its own places, nowhere else, and in training mode alone."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minitl.models.base import Model
from minitl.models.loading import new_model
from minitl.models.registry import family_of

SIZES: dict[str, dict[str, Any]] = {
    "bert": {
        "vocab_size": 40,
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
    },
    "gpt2": {"vocab_size": 40, "n_embd": 24, "n_layer": 1, "n_head": 3, "n_inner": 32, "n_positions": 16},
    "llama": {
        "vocab_size": 40,
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 32,
        "attention_bias": True,
    },
    "modernbert": {
        "vocab_size": 40,
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 32,
        "attention_bias": True,
    },
}
RATES = {family: [f.name for f in fields(family_of(family).config) if "drop" in f.name] for family in SIZES}
STAGES = (
    "embeddings",
    "layers.0.attention",
    "layers.0.feed_forward.up",
    "layers.0.feed_forward.gate_up",
    "layers.0.feed_forward",
    "layers.0",
    "head.classifier",
    "head.out",
)
IDS = torch.arange(18).view(2, 9)


def random_model(family: str, rates: dict[str, float | None], task: str, **options: Any) -> Model:
    """Every parameter away from 0, the rates that are not named at 0."""
    values = {"model_type": family, **SIZES[family], **dict.fromkeys(RATES[family], 0.0), **rates}
    model = new_model(values, task, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model


@torch.no_grad()
def run(model: Model) -> dict[str, Tensor]:
    """What each of the stages that the model has puts out in one forward pass."""
    stages = {module: name for name, module in model.named_modules() if name in STAGES}
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, _inputs: object, output: Any) -> None:
        seen[stages[module]] = output[0] if isinstance(output, tuple) else output

    handles = [module.register_forward_hook(keep) for module in stages]
    model(IDS)
    for handle in handles:
        handle.remove()
    return seen


def first_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> str | None:
    assert left.keys() == right.keys()
    return next((stage for stage in STAGES if stage in left and not torch.equal(left[stage], right[stage])), None)


# Dropping zeros changes nothing: where places share a rate, one is singled out by zeroing what the others drop from.
# With that zeroed at all of a rate's places, the rate shows nowhere (None), though the rest of the model is alive.
TABLES, NORMED, VALUE, QKV = "embeddings", "embeddings.norm", "layers.0.attention.value", "layers.0.attention.qkv"
ATTENDED, FED, GATED = "layers.0.attention.output", "layers.0.feed_forward.down", "layers.0.feed_forward.gate_up"
PLACES = [
    ("bert", "hidden_dropout_prob", [], "embeddings"),
    ("bert", "hidden_dropout_prob", [NORMED, FED], "layers.0.feed_forward.up"),
    ("bert", "hidden_dropout_prob", [NORMED, ATTENDED], "layers.0"),
    ("bert", "hidden_dropout_prob", [NORMED, ATTENDED, FED], None),
    ("bert", "attention_probs_dropout_prob", [], "layers.0.attention"),
    ("bert", "attention_probs_dropout_prob", [VALUE], None),
    ("bert", "classifier_dropout", [], "head.classifier"),
    ("gpt2", "embd_pdrop", [], "embeddings"),
    ("gpt2", "embd_pdrop", [TABLES], None),
    ("gpt2", "attn_pdrop", [], "layers.0.attention"),
    ("gpt2", "attn_pdrop", [QKV], None),
    ("gpt2", "resid_pdrop", [FED], "layers.0.feed_forward.up"),
    ("gpt2", "resid_pdrop", [ATTENDED], "layers.0"),
    ("gpt2", "resid_pdrop", [ATTENDED, FED], None),
    ("gpt2", "classifier_dropout", [], "head.classifier"),
    ("llama", "attention_dropout", [], "layers.0.attention"),
    ("llama", "attention_dropout", [VALUE], None),
    ("llama", "classifier_dropout", [], "head.classifier"),
    ("modernbert", "embedding_dropout", [], "embeddings"),
    ("modernbert", "embedding_dropout", [TABLES], None),
    ("modernbert", "attention_dropout", [], "layers.0.attention"),
    ("modernbert", "attention_dropout", [QKV], GATED),
    ("modernbert", "attention_dropout", [QKV, ATTENDED], None),
    ("modernbert", "mlp_dropout", [], "layers.0.feed_forward"),
    ("modernbert", "mlp_dropout", [GATED], None),
    ("modernbert", "classifier_dropout", [], "head.out"),
]


@pytest.mark.parametrize(("family", "rate", "zeroed", "place"), PLACES)
def test_a_rate_drops_at_its_places_in_training_mode_alone(
    family: str, rate: str, zeroed: list[str], place: str | None
) -> None:
    model = random_model(family, {rate: 0.5}, "token-classification")
    with torch.no_grad():
        for name in zeroed:
            for parameter in model.get_submodule(name).parameters():
                parameter.zero_()
    whole = run(model.eval())
    assert first_difference(whole, run(model)) is None
    assert first_difference(whole, run(model.train())) == place


def test_every_rate_of_every_config_has_its_place() -> None:
    assert {(family, rate) for family in RATES for rate in RATES[family]} == {case[:2] for case in PLACES}


@pytest.mark.parametrize(
    ("family", "task", "other", "default"),
    [
        ("bert", "token-classification", "hidden_dropout_prob", 0.5),
        ("bert", "sequence-classification", "hidden_dropout_prob", 0.5),
        ("gpt2", "token-classification", "resid_pdrop", 0.1),
        ("llama", "token-classification", "attention_dropout", 0.1),
    ],
)
@pytest.mark.parametrize("rate", [0.25, 0.0, None])
def test_a_classifier_drops_of_its_input_what_the_config_says(
    family: str, task: str, other: str, default: float, rate: float | None
) -> None:
    expected = default if rate is None else rate
    model = random_model(family, {other: 0.5, "classifier_dropout": rate}, task, num_labels=48)
    with torch.no_grad():
        model.head.classifier.weight.copy_(torch.eye(24).repeat(2, 1))  # the logits are the input, twice side by side
        model.head.classifier.bias.zero_()
        whole = model(IDS).logits
        model.head.train()
        dropped = model(IDS).logits
    kept = dropped != 0
    left, right = dropped.chunk(2, dim=-1)
    assert torch.equal(left, right)
    assert bool(kept.all()) == (expected == 0)
    torch.testing.assert_close(dropped, whole * kept / (1 - expected), rtol=1e-4, atol=1e-5)
