"""Train on several processes, or alone: every step's loss and gradients, and the weights at the end, into a file.

[torchrun --nproc-per-node N] several.py CHECKPOINT FOLDER PARALLEL CASE[,CASE] [die=STEP] [stop=STEP] [resume]
"""

import json
import os
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import subjects
import torch

from minitl import LoraConfig, fit
from minitl.checkpoints.weights import write_safetensors
from minitl.errors import MinitlError
from minitl.nn.dropout import Dropout
from minitl.training import FULL, GRADUAL, Settings, Strategy
from minitl.training.distributed import started
from minitl.training.engine import Engine
from minitl.training.optimizer import Optimizers

BASE = Settings(epochs=2, batch_size=6, learning_rate=5e-2, optimizer="sgd", schedule="constant", warmup=0.0)
LORA = Strategy("lora", lora=LoraConfig(r=4, alpha=8, target_modules="all-linear"))
CASES: dict[str, tuple[subjects.Make, Settings, Strategy]] = {
    "full": (subjects.classifier, BASE, FULL),
    "accumulated": (subjects.classifier, replace(BASE, batch_size=5, accumulation=3), FULL),
    "clipped": (
        subjects.classifier,
        replace(BASE, clip=0.1, optimizer="adamw", learning_rate=1e-3, save_every=1),
        FULL,
    ),
    "gradual": (subjects.classifier, BASE, GRADUAL),
    "lora": (subjects.classifier, replace(BASE, learning_rate=0.5, accumulation=2), LORA),
    "averaged": (subjects.classifier, replace(BASE, ema=0.9), replace(FULL, l2_sp=0.1)),
    "streamed": (subjects.streamed, replace(BASE, steps=7), FULL),
    "distilled": (subjects.distilled, replace(BASE, batch_size=5, accumulation=2), FULL),
    "in-batch": (subjects.in_batch, replace(BASE, learning_rate=5e-3), FULL),
    "nested": (subjects.nested, replace(BASE, learning_rate=5e-3, batch_size=5, accumulation=2), FULL),
    "dpo": (subjects.preferring, BASE, FULL),
    "dpo-lora": (subjects.preferring, replace(BASE, learning_rate=0.5), LORA),
    "grown": (subjects.grown, replace(BASE, learning_rate=0.5, save_every=1), LORA),
    "grown-writer": (subjects.grown_writer, replace(BASE, learning_rate=0.1), LORA),
    "grpo": (subjects.drawing, replace(BASE, save_every=1), FULL),
    "grpo-lora": (subjects.drawing, replace(BASE, save_every=1), LORA),
}


def main() -> None:
    checkpoint, folder, parallel, case, *orders = sys.argv[1:]
    with started(parallel, "cpu") as (engine, _):
        for one in case.split(","):
            train(checkpoint, Path(folder), engine, one, dict(order.partition("=")[::2] for order in orders))
    if parallel == "ddp":  # threads that outlive the training can abort a process that ends in a bad moment
        assert "pt_gloo_runloop" not in [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]


def train(checkpoint: str, folder: Path, engine: Engine, case: str, orders: dict[str, str]) -> None:
    make, settings, strategy = CASES[case]
    model, task, examples, stream = subjects.drawn_alike(make, checkpoint)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0  # what is dropped differs from process to process
        if hasattr(module, "dropout_p"):
            module.dropout_p = 0.0
    gradients: dict[str, torch.Tensor] = {}
    steps: list[dict[str, Any]] = []
    taken = Optimizers.step

    def watched(optimizer: Optimizers) -> None:
        for name, p in model.named_parameters():
            if p.requires_grad and p.grad is not None:
                gradients[f"{len(steps)}.{name}"] = engine.whole(p.grad).clone()
        taken(optimizer)

    class Hearing:
        def on_start(self, steps: int, done: int) -> None:
            if engine.rank == 0:
                print(f"begins at {done} of {steps}")

        def on_step(self, step: Any) -> None:
            steps.append({"loss": step.loss, "norm": step.grad_norm, "tokens": step.tokens})
            first_round = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
            if str(step.step) == orders.get("die") and engine.rank == engine.world - 1 and first_round:
                os._exit(7)
            if str(step.step) == orders.get("stop") and engine.rank == 0:
                os.kill(os.getpid(), 15)  # one hears of it, and all stop

        def on_validation(self, validation: Any) -> None:
            steps.append({"validation": validation.loss, **validation.metrics})

    Optimizers.step = watched  # type: ignore[method-assign]
    torch.manual_seed(0)
    where = folder if {"die", "stop", "resume"} & orders.keys() else None
    fit(
        model,
        stream or examples,
        examples[:7],
        task=task,
        settings=settings,
        strategy=strategy,
        engine=engine,
        listener=Hearing(),
        folder=where,
        resume="resume" in orders,
    )
    Optimizers.step = taken  # type: ignore[method-assign]
    engine.collect(model)
    sums = [zlib.crc32(p.detach().numpy().tobytes()) for p in model.parameters()]
    assert engine.gathered(sums) == [sums] * engine.world, "the processes end with other weights"
    if engine.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{case}.json").write_text(json.dumps(steps))
        weights = {f"weights.{name}": p.detach().clone() for name, p in model.named_parameters()}
        write_safetensors(
            {**weights, **{f"gradients.{k}": g for k, g in gradients.items()}}, folder / f"{case}.safetensors"
        )


if __name__ == "__main__":
    try:
        main()
    except MinitlError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
