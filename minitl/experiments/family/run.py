"""The BERT family under constraints: how large its members are, and how fast they read.

parameters   of the published configurations, counted on models without memory
speed        random weights of these shapes, float32, beside BERT-base of the same run: B X B X …, a ratio each round
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minitl.adapters import count_parameters
from minitl.experiments.experiment import Results
from minitl.experiments.runs import Runs
from minitl.experiments.shapes import CHECKPOINTS, Shape
from minitl.models.base import Model
from minitl.models.loading import new_model
from minitl.models.packing import packed_weights
from minitl.nn.device import usual_device
from minitl.pages.machine import device_name
from minitl.training import Listener

REFERENCE = "bert-base-uncased"
TITLES = {
    REFERENCE: "BERT-base",
    "roberta-base": "RoBERTa-base",
    "distilbert-base-uncased": "DistilBERT",
    "deberta-v3-base": "DeBERTa-v3-base",
    "bert-large-uncased": "BERT-large",
    "xlm-roberta-base": "XLM-RoBERTa-base",
    "ModernBERT-base": "ModernBERT-base",
}


@dataclass(frozen=True)
class Scale:
    """How much is measured, as benchmarks/encoders.py does it: packed weights, inference mode, texts of one length, so
    that nothing is padded.

    lengths   of the texts; each member reads those that its positions allow
    tokens    of a batch, or one text where that is longer
    warm_up   rounds that are not kept
    rounds    that are

    Beyond BERT's own positions stands a BERT that has more of them. A full run is 3 · 8 rounds of 2.6 · 10¹² FLOPs for
    texts up to 512 tokens and 8 of 8.5 · 10¹² for longer ones: 130 · 10¹² in all, 15 minutes at 150 GFLOP/s.
    """

    shapes: Mapping[str, Shape] = field(default_factory=lambda: {name: CHECKPOINTS[name] for name in TITLES})
    lengths: tuple[int, ...] = (32, 128, 512, 2048, 8192)
    tokens: int = 1024
    warm_up: int = 1
    rounds: int = 7


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Count every member; read with each and BERT-base in turns, at every length."""
    reference = scale.shapes[REFERENCE]
    speed = []
    for name, shape in scale.shapes.items():
        for length in scale.lengths:
            if name == REFERENCE or length > positions(shape):
                continue
            batch = max(1, scale.tokens // length)
            beside = reference | {"max_position_embeddings": max(length, positions(reference))}
            line = runs.once(
                f"{name}-{length}",
                {
                    "shapes": [beside, shape],
                    "batch": batch,
                    "rounds": [scale.warm_up, scale.rounds],
                    "device": device_name(usual_device()),
                },
                partial(_read_in_turns, beside, shape, (batch, length), scale.warm_up, scale.rounds),
                alone=True,
            )
            speed.append({"name": name, "length": length, "batch": batch, **line})
    return {
        "model": "published shapes with random weights",
        "data": f"random tokens, texts of {scale.lengths[0]} to {scale.lengths[-1]:,}",
        "seeds": 1,
        "members": [{"name": name, **sizes(shape)} for name, shape in scale.shapes.items()],
        "speed": speed,
        "own_positions": positions(reference),
    }


def positions(shape: Shape) -> int:
    """The longest text that the checkpoint was made for; RoBERTa's tables have two rows more, which it does not use."""
    unused = 2 if "roberta" in shape["model_type"] else 0
    return int(shape["max_position_embeddings"]) - unused


def sizes(shape: Shape) -> dict[str, int]:
    """Parameters of the backbone, and of them those of its embeddings: tokens, positions, types and their norm."""
    model = new_model(shape, device="meta")
    embeddings = model.get_submodule("embeddings")
    return {"total": count_parameters(model).total, "embeddings": count_parameters(embeddings).total}


def _read_in_turns(
    reference: Shape,
    shape: Shape,
    size: tuple[int, int],
    warm_up: int,
    rounds: int,
    _folder: Path,
    _listener: Listener | None,
) -> dict[str, Any]:
    """Seconds of each round: BERT-base's, and the member's."""
    torch.manual_seed(0)
    models = [new_model(reference), new_model(shape)]
    words = min(reference["vocab_size"], shape["vocab_size"])
    ids = torch.randint(words // 2, words, size)  # no special tokens among them
    ids = ids.to(next(models[0].parameters()).device)
    with packed_weights(models[0]), packed_weights(models[1]):
        seconds = [[_seconds(model, ids) for model in models] for _ in range(warm_up + rounds)][warm_up:]
    return {"reference_seconds": [first for first, _ in seconds], "seconds": [second for _, second in seconds]}


@torch.inference_mode()
def _seconds(model: Model, ids: torch.Tensor) -> float:
    started = time.perf_counter()
    model(ids, torch.ones_like(ids))
    if ids.device.type == "cuda":
        torch.cuda.synchronize(ids.device)
    return time.perf_counter() - started


def speed_ups(results: Results, name: str) -> dict[int, Sequence[float]]:
    """By length, how many times as fast as BERT-base the member read, in each round."""
    return {
        line["length"]: [
            first / second for first, second in zip(line["reference_seconds"], line["seconds"], strict=True)
        ]
        for line in results["speed"]
        if line["name"] == name
    }
