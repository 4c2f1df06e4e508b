"""Small models of each build, with a tokenizer that they share, and what is seen of them."""

from pathlib import Path

import pytest
import torch

from minitl import LoraConfig, add_lora, load_tokenizer, new_model
from minitl.inspect import Look, look
from minitl.tokenization import Tokenizer
from tests.models.saved import BERT, GPT2
from tests.training.test_encoder_decoders import CONFIGS

TEXT = "the film was very good"


@pytest.fixture(scope="session")
def words(tiny: Path) -> Tokenizer:
    """[CLS] text [SEP], a token a word."""
    return load_tokenizer(tiny)


@pytest.fixture(scope="session")
def encoder_look(words: Tokenizer) -> Look:
    """Of a masked language model with an adapter that has learnt something."""
    torch.manual_seed(1)
    model = new_model(BERT, "masked-lm")
    add_lora(model, LoraConfig(r=2, alpha=4))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name or "adapters" in name:
                parameter.normal_(0, 0.2)
    return look(model, words, TEXT)


@pytest.fixture(scope="session")
def decoder_look(words: Tokenizer) -> Look:
    torch.manual_seed(1)
    return look(new_model(GPT2, "causal-lm"), words, TEXT)


@pytest.fixture(scope="session")
def bart_look(words: Tokenizer) -> Look:
    torch.manual_seed(1)
    return look(new_model(CONFIGS["bart"], "seq2seq-lm"), words, TEXT, "a fine film")
