"""What fine-tuning a model of 7 billion parameters takes, in full and with LoRA: counted, and on a GPU measured too."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from minitl.adapters import LoraConfig, add_lora
from minitl.experiments.counting import (
    ALL_LINEAR,
    ATTENTION,
    FULL,
    MASTERS,
    QUERY_VALUE,
    THROUGHOUT,
    Learning,
    count,
    kept_bytes,
    step_flops,
    step_memory,
)
from minitl.experiments.runs import Runs
from minitl.models.llama import LlamaConfig
from minitl.models.loading import new_model
from minitl.models.registry import family_of
from minitl.training import Listener
from minitl.training.memory import PeakMemory
from minitl.training.recomputing import recomputed

EVERYTHING = "everything"
ADAPTED = {"query and value": QUERY_VALUE, "attention": ATTENTION, "all linear layers": ALL_LINEAR}


@dataclass(frozen=True)
class Training:
    """What is assumed of the training that the guide has in mind.

    batch, length   texts of a step and their tokens
    rank            of the updates
    tokens          of all passes over the data: about three over Alpaca's 52,000 instructions (Taori et al. 2023), of
                    some 130 tokens each
    peak            operations a second of an A100 in bfloat16 without sparsity (NVIDIA, A100 data sheet, 2021)
    utilisation     share of the peak that is reached: PaLM's training reached 46%, those before it 21 to 33%
                    (Chowdhery et al. 2022, table 3)
    card            bytes of the GPU's memory
    """

    batch: int = 4
    length: int = 512
    rank: int = 16
    tokens: float = 20e6
    peak: float = 312e12
    utilisation: float = 0.4
    card: float = 40e9


def learnings(rank: int) -> dict[str, Learning]:
    """Full fine-tuning, and updates of three choices of layers."""
    return {EVERYTHING: FULL, **{name: Learning(rank, layers) for name, layers in ADAPTED.items()}}


def config_of(shape: Mapping[str, Any]) -> LlamaConfig:
    """The configuration of a decoder of Llama's kind."""
    config = family_of(shape["model_type"]).config.from_dict(dict(shape))
    assert isinstance(config, LlamaConfig)
    return config


def count_all(shape: Mapping[str, Any], training: Training) -> list[dict[str, Any]]:
    """A row for each choice of what learns, each precision, and with activations kept or computed again."""
    config = config_of(shape)
    rows = []
    for name, learning in learnings(training.rank).items():
        counted = count(config, learning)
        for precision in (MASTERS, THROUGHOUT) if learning.everything else (MASTERS,):
            for recompute in (False, True):
                flops = step_flops(config, training.batch, training.length, learning, recompute)
                kept = kept_bytes(config, training.batch, training.length, learning, recompute)
                memory = step_memory(counted, kept, precision)
                rows.append(
                    {
                        "learns": name,
                        "precision": precision.name,
                        "recompute": recompute,
                        "trainable": counted.trainable,
                        "total": counted.total,
                        "flops": {**asdict(flops), "total": flops.total},
                        "bytes": {**asdict(memory), "total": memory.total},
                        **_on_cards(flops.total, memory.total, training),
                    }
                )
    return rows


def _on_cards(flops: int, memory: int, training: Training) -> dict[str, Any]:
    """How many cards hold it, were everything shared out evenly, and the hours of one card that it takes in all."""
    per_token = flops / (training.batch * training.length)
    seconds = per_token * training.tokens / (training.peak * training.utilisation)
    return {"cards": math.ceil(memory / training.card), "card_hours": seconds / 3600}


def measure_all(runs: Runs, shape: Mapping[str, Any], training: Training, steps: int) -> list[dict[str, Any]]:
    """A measured step of full fine-tuning and of LoRA where there is a GPU; else nothing."""
    if not torch.cuda.is_available():
        return []
    device = torch.device("cuda")
    lines = []
    for name in (EVERYTHING, "all linear layers"):
        for recompute in (False, True):
            one = learnings(training.rank)[name]
            line = runs.once(
                f"step-{name.replace(' ', '-')}-{'recomputed' if recompute else 'kept'}",
                {
                    "shape": dict(shape),
                    "training": asdict(training),
                    "steps": steps,
                    "gpu": torch.cuda.get_device_name(),
                },
                partial(_measured, shape, one, training, recompute, steps, device),
                alone=True,
            )
            lines.append({"learns": name, "recompute": recompute, **line})
    return lines


def _measured(
    shape: Mapping[str, Any],
    learning: Learning,
    training: Training,
    recompute: bool,
    steps: int,
    device: torch.device,
    _folder: Path,
    _listener: Listener | None,
) -> dict[str, Any]:
    return measure(shape, learning, training, recompute, steps, device)


def measure(
    shape: Mapping[str, Any], learning: Learning, training: Training, recompute: bool, steps: int, device: torch.device
) -> dict[str, Any]:
    """Seconds of each of `steps` steps after a first one, and the peak memory, with random weights in bfloat16.

    {"fits": False} where the device's memory is too small. AdamW as torch has it: its moments are of each parameter's
    type, which is bfloat16 in full fine-tuning, and float32 in adapters.
    """
    peak = PeakMemory(device)
    try:
        seconds = _steps(shape, learning, training, recompute, steps + 1, device)[1:]
    except torch.OutOfMemoryError:
        return {"device": _name(device), "fits": False, "seconds": [], "peak_memory_bytes": None}
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {"device": _name(device), "fits": True, "seconds": seconds, "peak_memory_bytes": peak.bytes}


def _steps(
    shape: Mapping[str, Any], learning: Learning, training: Training, recompute: bool, steps: int, device: torch.device
) -> list[float]:
    torch.manual_seed(0)
    model = new_model(shape, "causal-lm", dtype=torch.bfloat16, device=device).train()
    if not learning.everything:
        add_lora(model, LoraConfig(r=learning.rank, target_modules=list(learning.adapted)))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5, fused=True)
    ids = torch.randint(shape["vocab_size"], (training.batch, training.length), device=device)
    seconds = []
    with recomputed(model, recompute):
        for _ in range(steps):
            started = time.perf_counter()
            logits = model(ids).logits[:, :-1]
            F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return seconds


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
