"""Tiny random models of each family, for the tests of this folder."""

import torch

import minitl
from minitl.models.base import Model

CONFIGS = {
    "bert": {
        "model_type": "bert",
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 20,
    },
    "deberta-v2": {
        "model_type": "deberta-v2",
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 20,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "share_att_key": True,
    },
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 40,
        "n_positions": 20,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "llama": {
        "model_type": "llama",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "modernbert": {
        "model_type": "modernbert",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "global_attn_every_n_layers": 2,
        "local_attention": 4,
        "pad_token_id": 0,
    },
    "t5": {
        "model_type": "t5",
        "vocab_size": 40,
        "d_model": 16,
        "d_kv": 6,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 0,
        "eos_token_id": 7,
    },
    "bart": {
        "model_type": "bart",
        "vocab_size": 40,
        "d_model": 16,
        "max_position_embeddings": 20,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 24,
    },
}

TASKS = [
    ("bert", "sequence-classification"),
    ("bert", "masked-lm"),
    ("bert", "backbone"),
    ("deberta-v2", "sequence-classification"),
    ("gpt2", "sequence-classification"),
    ("gpt2", "causal-lm"),
    ("llama", "sequence-classification"),
    ("llama", "causal-lm"),
    ("modernbert", "masked-lm"),
    ("t5", "seq2seq-lm"),
    ("bart", "seq2seq-lm"),
]

IDS = torch.tensor([[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]])


def tiny(family: str, task: str) -> Model:
    """The same model at every call, in eval mode."""
    generator = torch.get_rng_state()
    torch.manual_seed(7)
    model = minitl.new_model(CONFIGS[family], task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    torch.set_rng_state(generator)
    return model


def train_a_little(model: Model) -> None:
    """Move everything that learns, as a training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))


def outputs(model: Model) -> torch.Tensor:
    """The head's scores, or the hidden states of a backbone."""
    with torch.no_grad():
        out = model(IDS)
    return out.last_hidden_state if out.logits is None else out.logits
