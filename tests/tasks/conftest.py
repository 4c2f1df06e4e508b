"""A tokenizer with an end, and tiny models that write."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minitl import load_tokenizer, new_model
from minitl.models.base import Model
from minitl.tokenization import Tokenizer


@pytest.fixture(scope="session")
def ending(tiny: Path) -> Tokenizer:
    """BERT's words, with an end token as a decoder's has."""
    tokenizer = load_tokenizer(tiny)
    tokenizer.token_types = False
    tokenizer._special_tokens = {**tokenizer._special_tokens, "eos": "[SEP]"}
    return tokenizer


@pytest.fixture(scope="session")
def writer(ending: Tokenizer) -> Callable[[], Model]:
    """Makes the same fresh GPT-2 each time it is called, with dropout."""

    def make() -> Model:
        torch.manual_seed(1)
        config = {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 48}
        config["initializer_range"] = 0.2  # wide enough for adapters to reach what a frozen head says
        return new_model({**config, "vocab_size": ending.vocab_size}, "causal-lm")

    return make
