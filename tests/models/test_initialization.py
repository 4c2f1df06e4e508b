"""Fresh weights: each kind of parameter begins as the published models began."""

import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from minitl.models.loading import load_model, new_model, save_model
from minitl.models.registry import family_of

DEVIATION, PADDING, LAYERS = 0.05, 3, 2
COMMON = {"vocab_size": 300, "initializer_range": DEVIATION, "pad_token_id": PADDING}
WIDE = {"hidden_size": 256, "intermediate_size": 320, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **COMMON, **WIDE, "max_position_embeddings": 16},
    "deberta-v2": {
        "model_type": "deberta-v2",
        **COMMON,
        **WIDE,
        "max_position_embeddings": 16,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
    },
    "gpt2": {"model_type": "gpt2", **COMMON, "n_positions": 16, "n_embd": 256, "n_layer": LAYERS, "n_head": 4},
    "llama": {"model_type": "llama", **COMMON, **WIDE, "attention_bias": True, "mlp_bias": True},
    "modernbert": {"model_type": "modernbert", **COMMON, **WIDE, "initializer_cutoff_factor": 2.5},
}
BART = {
    "vocab_size": 300,
    "init_std": DEVIATION,
    "pad_token_id": PADDING,
    "d_model": 256,
    "max_position_embeddings": 16,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 320),
}
CONFIGS |= {family: {"model_type": family, **BART} for family in ("bart", "mbart", "pegasus", "m2m_100")}
RESIDUAL = ("attention.output.weight", "feed_forward.down.weight")  # what a layer adds to the residual stream
# The deviation of a normal variable of which only what lies within 2.5 deviations is kept: sqrt(1 − 2·2.5·φ(2.5)/P).
CUT = math.sqrt(1 - 5 * math.exp(-3.125) / math.sqrt(2 * math.pi) / math.erf(2.5 / math.sqrt(2)))
NARROW = {"gpt2": RESIDUAL, "modernbert": (*RESIDUAL, "head.dense.weight", "head.decoder.weight")}


def assert_fresh(family: str, name: str, parameter: nn.Parameter) -> None:
    """Biases 0, norms 1, the padding row 0, and the rest normal with the deviation that its kind has."""
    values = parameter.detach().double()
    if name.endswith("bias"):
        assert values.eq(0).all(), name
    elif "norm" in name:
        assert values.eq(1).all(), name
    else:
        padded = name == "embeddings.token.weight" and family != "gpt2"
        assert values.eq(0).all(-1).nonzero().flatten().tolist() == ([PADDING] if padded else []), name
        values = values[values.ne(0).any(-1)]
        expected = DEVIATION / math.sqrt(2 * LAYERS) if name.endswith(NARROW.get(family, ())) else DEVIATION
        if family == "modernbert" and name.startswith(("head.out", "head.span")):
            expected = WIDE["hidden_size"] ** -0.5
        if family == "modernbert" and not name.startswith("embeddings"):
            assert values.abs().max() <= 2.5 * expected * (1 + 1e-6), f"{name} is not cut off"
            expected *= CUT
        assert abs(float(values.mean())) < 5 * expected / math.sqrt(values.numel()), name
        assert float(values.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * values.numel())), name
        assert values.abs().max() > 2 * expected, f"{name} is not normal"


@pytest.mark.parametrize(
    ("family", "task"), [(name, task) for name in CONFIGS for task in ("backbone", *family_of(name).heads)]
)
def test_a_new_model_is_drawn_as_its_config_says(family: str, task: str) -> None:
    for name, parameter in new_model(CONFIGS[family], task).named_parameters():
        assert_fresh(family, name, parameter)


@pytest.mark.parametrize(
    ("family", "task"), [("bert", "masked-lm"), ("gpt2", "token-classification"), ("llama", "causal-lm")]
)
def test_a_head_that_a_checkpoint_lacks_is_drawn_likewise(family: str, task: str, tmp_path: Path) -> None:
    save_model(new_model(CONFIGS[family]), tmp_path / "backbone")
    for name, parameter in load_model(tmp_path / "backbone", task).named_parameters():
        assert_fresh(family, name, parameter)
