"""Tiny models that write: a decoder with learned positions, one with rotary ones, and an encoder-decoder.

Their weights are far larger than usual, so that the scores of a tiny random model lie well apart.
"""

from typing import Any

import pytest

from minitl.models.base import Model
from minitl.models.loading import new_model

VOCABULARY, POSITIONS = 31, 40
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": VOCABULARY,
    "n_positions": POSITIONS,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "initializer_range": 0.4,
    "eos_token_id": None,
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.4,
    "eos_token_id": None,
}
T5: dict[str, Any] = {
    "model_type": "t5",
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "initializer_factor": 3.0,
    "eos_token_id": None,
    "pad_token_id": None,
}
MISTRAL = LLAMA | {"model_type": "mistral", "sliding_window": 4}
DECODERS = {"gpt2": GPT2, "llama": LLAMA, "mistral": MISTRAL}
EVERY = {**DECODERS, "t5": T5}


def writer(name: str) -> Model:
    return new_model(EVERY[name], "seq2seq-lm" if name == "t5" else "causal-lm")


@pytest.fixture(params=DECODERS)
def model(request: pytest.FixtureRequest) -> Model:
    """Each decoder."""
    return writer(request.param)


@pytest.fixture(params=EVERY)
def any_model(request: pytest.FixtureRequest) -> Model:
    """Each decoder, and the encoder-decoder."""
    return writer(request.param)


@pytest.fixture
def gpt2() -> Model:
    return writer("gpt2")


@pytest.fixture
def t5() -> Model:
    return writer("t5")
