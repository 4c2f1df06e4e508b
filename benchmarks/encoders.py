"""The forward pass of every family that reads, in its base size: `python -m benchmarks.encoders`.

Random weights, float32. Each family reads 8 texts of 128 tokens; BERT and ModernBERT also a batch of mixed lengths,
which a library may read as it likes as long as it gives the same vectors; ModernBERT also one text of 8,192 tokens, in
6 of its 22 layers. minitl's weights are packed (`minitl.packed_weights`), and so in memory twice; the plain ones are
measured beside them.
"""

import contextlib
import json
import random
import sys
import tempfile
from typing import Any

import torch

from benchmarks.protocol import Side, Worker, compare, peers_python, save
from minitl.experiments.shapes import BERT, DEBERTA, DISTILBERT, MODERNBERT, ROBERTA
from minitl.models.loading import new_model, save_model

CONFIGS: dict[str, dict[str, Any]] = {
    "BERT": BERT,
    "RoBERTa": ROBERTA,
    "DistilBERT": DISTILBERT,
    "ELECTRA": BERT | {"model_type": "electra", "embedding_size": 768},
    "DeBERTa-v3": DEBERTA,
    "ModernBERT": MODERNBERT,
    "T5": {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 3072,
        "num_layers": 12,
        "num_heads": 12,
    },
    "BART": {
        "model_type": "bart",
        "vocab_size": 50265,
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
        "max_position_embeddings": 1024,
    },
}


def mixed_lengths() -> list[int]:
    """32 texts as a batch of documents has them: most short, some long, the longest cut at 256 tokens."""
    dice = random.Random(0)
    return [min(256, max(8, round(dice.lognormvariate(4.2, 0.8)))) for _ in range(32)]


def row(case: str, config: dict[str, Any], lengths: list[int], plain: bool = False) -> dict[str, Any]:
    """The row of the table; `plain`: with minitl's weights as they are, too."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        save_model(new_model(config), folder)
        worker, ours = "benchmarks.workers.forward", "minitl, plain weights"
        with contextlib.ExitStack() as stack:
            sides: dict[str, Side] = {}
            for name in ("minitl", "transformers", *([ours] if plain else [])):
                python = peers_python() if name == "transformers" else sys.executable
                sides[name] = stack.enter_context(Worker(worker, name, folder, json.dumps(lengths), python=python))
            return compare(case, sides, warm_up=1, runs=7, amount=sum(lengths), unit="tokens")


def main() -> None:
    rows = [row(f"{name}, 8 × 128 tokens", config, [128] * 8, plain=True) for name, config in CONFIGS.items()]
    lengths = mixed_lengths()
    for name in ("BERT", "ModernBERT"):
        rows.append(
            row(f"{name}, {len(lengths)} texts of {min(lengths)} to {max(lengths)} tokens", CONFIGS[name], lengths)
        )
    long = MODERNBERT | {"num_hidden_layers": 6}
    rows.append(row("ModernBERT in 6 layers, 1 × 8,192 tokens", long, [8192]))
    print(save("encoders", "Reading, base sizes", rows))


if __name__ == "__main__":
    main()
