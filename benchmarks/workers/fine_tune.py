"""One optimiser step on MiniLM: `python -m benchmarks.workers.fine_tune LIBRARY FOLDER METHOD PRECISION`.

Batches of 32 texts of 64 tokens; forward, backward, clipping, AdamW; dropout 0.1 as published. METHOD is "full", or
"lora": rank 16 on all linear layers of the backbone, dropout 0.1, the classifier trained in full. PRECISION is
"float32", "bfloat16" for products in it under autocast, or "bfloat16-base" for a model loaded in it: what is trained
then has the type that each library gives it by default.
"""

import contextlib
import sys
from typing import Any

import torch

from benchmarks.workers import Run, serve

BATCH, LENGTH, VOCABULARY = 32, 64, 30522
LINEAR = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def set_up() -> Run:
    library, folder, method, precision = sys.argv[1:5]
    torch.manual_seed(0)
    model = {"minitl": _minitl, "peers": peer_model}[library](folder, method, weights_type(precision))
    model.train()
    learnable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=1e-5, fused=True)  # both, as their own loops do
    ids = torch.randint(1000, VOCABULARY, (BATCH, LENGTH))
    mask, labels = torch.ones_like(ids), torch.randint(2, (BATCH,))

    def run() -> None:
        context: Any = contextlib.nullcontext()
        if precision == "bfloat16":
            context = torch.autocast("cpu", dtype=torch.bfloat16)
        with context:
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnable, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def weights_type(precision: str) -> torch.dtype:
    """The type in which a model is loaded for a PRECISION."""
    return torch.bfloat16 if precision == "bfloat16-base" else torch.float32


def _minitl(folder: str, method: str, dtype: torch.dtype) -> torch.nn.Module:
    import minitl

    model = minitl.load_model(folder, "sequence-classification", num_labels=2, dtype=dtype)
    if method == "lora":
        minitl.add_lora(model, minitl.LoraConfig(r=16, alpha=32, dropout=0.1, target_modules=LINEAR))
    return model


def peer_model(folder: str, method: str, dtype: torch.dtype) -> torch.nn.Module:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=dtype)
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, lora_dropout=0.1, target_modules=LINEAR)
        model = get_peft_model(model, config)
    return model


if __name__ == "__main__":
    serve(set_up)
