"""The training step of MiniLM with LoRA on all linear layers, ours and PEFT's, all sides in one interleaved run."""

import contextlib
import sys
from typing import Any

from benchmarks.lora.cases import STEP_TOKENS
from benchmarks.protocol import Worker, compared, peers_python, take_turns
from minitl.checkpoints.hub import bundled_checkpoint

TITLE = "Training step, MiniLM, LoRA on all linear layers, 32 × 64 tokens"
PRECISIONS = {"float32": "float32", "bfloat16-base": "bfloat16 weights, float32 adapters"}
WARM_UP, RUNS = 2, 9


def lora_steps() -> list[dict[str, Any]]:
    """A row for each precision; both libraries with the model's own dropouts on."""
    folder = bundled_checkpoint()
    pythons = {"minitl": sys.executable, "PEFT": peers_python()}
    workers = {
        f"{name}, {precision}": Worker(
            "benchmarks.workers.fine_tune",
            *("minitl" if name == "minitl" else "peers", folder, "lora", precision),
            python=python,
        )
        for precision in PRECISIONS
        for name, python in pythons.items()
    }
    with contextlib.ExitStack() as stack:
        for worker in workers.values():
            stack.enter_context(worker)
        rounds = take_turns(TITLE, workers, warm_up=WARM_UP, runs=RUNS)
    rows = []
    for precision, title in PRECISIONS.items():
        ours = [{name: samples[f"{name}, {precision}"] for name in pythons} for samples in rounds]
        row = compared(title, ours, list(pythons), warm_up=WARM_UP, amount=STEP_TOKENS, unit="tokens")
        rows.append(row | {"precision": precision})
    return rows
