"""The whole state of an unfinished training, so that going on gives bit for bit what an unbroken run gives.

state.safetensors   what learns (model.*), its best version so far (best.*), AdamW's moments (exp_avg.*,
                    exp_avg_sq.*), the random generators (rng.*); no pickles
state.json          where in which epoch, the history, and what was being trained on what (checked on resume)
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.digest import FILE_NAME, read_digests, write_digests
from minitl.checkpoints.weights import Weights, read_json, saving, write_safetensors
from minitl.errors import TrainingError
from minitl.models.base import Model
from minitl.training.log import History

TENSORS, FACTS = "state.safetensors", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Progress:
    """Where the training stands. `window` counts the optimiser steps already taken in `epoch`."""

    epoch: int = 0
    window: int = 0
    step: int = 0
    best_epoch: int = 0  # counts from 1; 0 = nothing evaluated yet
    best_key: tuple[float, float] = (-math.inf, -math.inf)  # (metric, -loss): higher is better
    best: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=History)
    seconds: float = 0.0
    peak_memory: int = 0  # bytes


def save_state(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, progress: Progress, identity: dict[str, Any]
) -> None:
    """Write the state into `folder`, replacing an older one only once it is complete."""
    names = learning(optimizer, model)
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters() if name in names}
    tensors |= {f"best.{name}": value for name, value in progress.best.items()}
    for name in names:
        moments = optimizer.state.get(model.get_parameter(name), {})
        tensors |= {f"{key}.{name}": value for key, value in moments.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    facts = {
        "identity": identity,
        "epoch": progress.epoch,
        "window": progress.window,
        "step": progress.step,
        "best_epoch": progress.best_epoch,
        "best_key": list(progress.best_key) if progress.best_epoch else None,
        "seconds": progress.seconds,
        "peak_memory": progress.peak_memory,
        "history": progress.history.to_dict(),
    }
    with saving(folder) as stage:
        write_safetensors({k: t.cpu() for k, t in tensors.items()}, stage / TENSORS)
        write_json(stage / FACTS, facts)


def load_state(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> Progress | None:
    """Restore what `save_state` wrote into model, optimiser and random generators; None where there is none.

    Raises TrainingError where the state belongs to another training: another model, task, data, settings or strategy.
    """
    if not (folder / FACTS).exists():
        return None
    facts = read_json(folder / FACTS)
    differing = _differences(facts["identity"], json.loads(json.dumps(identity)))
    if differing:
        raise TrainingError(
            f"{folder} holds the state of a training that differs: {', '.join(differing)}: "
            "go on as it began, or begin anew (resume=False, --restart)"
        )
    weights = Weights({folder / TENSORS: None})
    names = learning(optimizer, model)
    stored = {name.removeprefix("model.") for name in weights if name.startswith("model.")}
    if stored != names:
        raise TrainingError(f"{folder}: cannot go on: it holds other parameters than this model learns")
    with torch.no_grad():
        for name in names:
            parameter = model.get_parameter(name)
            parameter.copy_(weights[f"model.{name}"])
            if f"exp_avg.{name}" in weights:
                kept = {key: weights[f"{key}.{name}"] for key in MOMENTS}
                optimizer.state[parameter] = {key: _laid_out(value, parameter) for key, value in kept.items()}
    torch.set_rng_state(weights["rng.cpu"].clone())
    if "rng.cuda" in weights and torch.cuda.is_available():
        torch.cuda.set_rng_state(weights["rng.cuda"].clone())
    best_metric, best_loss = facts["best_key"] or (-math.inf, -math.inf)
    return Progress(
        facts["epoch"],
        facts["window"],
        facts["step"],
        facts["best_epoch"],
        (best_metric, best_loss),
        {name.removeprefix("best."): weights[name].clone() for name in weights if name.startswith("best.")},
        History.from_dict(facts["history"]),
        facts["seconds"],
        facts["peak_memory"],
    )


def _laid_out(stored: Tensor, parameter: Tensor) -> Tensor:
    """A copy in the parameter's own order of memory, which a moment has: the fused step reads both side by side."""
    if stored.shape != parameter.shape:
        return stored.clone().to(parameter.device)
    return torch.empty_like(parameter, dtype=stored.dtype).copy_(stored)


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two nested values differ, as "settings.epochs was 3 and is 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))]
    if name.startswith("data."):
        return [] if before == now else [f"the {name.removeprefix('data.')} data"]  # by their digests
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]


def discard_state(folder: Path) -> None:
    """Remove the state of a training whose result is saved; the logs and all other files stay."""
    (folder / FACTS).unlink(missing_ok=True)  # first: without it the rest is no state
    (folder / TENSORS).unlink(missing_ok=True)
    kept = {name: digest for name, digest in read_digests(folder).items() if name not in (TENSORS, FACTS)}
    if kept:
        write_digests(folder, (), kept)
    else:
        (folder / FILE_NAME).unlink(missing_ok=True)


def learning(optimizer: torch.optim.Optimizer, model: Model) -> set[str]:
    """Names of the parameters that the optimiser holds."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in held}
