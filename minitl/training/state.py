"""The whole state of an unfinished training, so that going on gives bit for bit what an unbroken run gives.

    OUT/states/00007/   state.safetensors   what learns (model.*), its best version so far (best.*), its moving average
                                            (average.*), the optimiser's memory (optimizer.KEY.*), the generators of
                                            random numbers (rng.*); no pickles. Of a model that is shared out, shards/
                                            in its place (`minitl.checkpoints.sharded`)
                        state.json          where in which epoch, the history, and what was being trained on what
                                            (checked on resume)

A state appears in one rename, whole or not at all; the last few are kept, and one that is damaged is passed over for
the one before.
"""

import json
import logging
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.sharded import ShardedWeights
from minitl.checkpoints.weights import Weights, read_json
from minitl.data.stream import Place
from minitl.errors import CheckpointError, TrainingError
from minitl.training.engine import ALONE, Engine, open_tensors
from minitl.training.log import History

log = logging.getLogger("minitl")

STATES, FEATURES, FACTS = "states", "features", "state.json"


@dataclass
class Progress:
    """Where the training stands. `window` counts the optimiser steps already taken in `epoch`."""

    epoch: int = 0
    window: int = 0
    place: Place | None = None  # of a stream: where the epoch's portion begins
    step: int = 0
    best_step: int = 0  # 0 = nothing evaluated yet
    best_epoch: float = 0.0
    best_key: tuple[float, float] = (-math.inf, -math.inf)  # (metric, -loss): higher is better
    since_best: int = 0  # evaluations
    first_losses: list[float] = field(default_factory=list)  # of the first steps, by which one that explodes is known
    scale: float = 1.0  # of float16 losses, and how many steps it held
    good_steps: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=History)
    seconds: float = 0.0
    peak_memory: int = 0  # bytes

    def to_dict(self) -> dict[str, Any]:
        """All but the tensors, for JSON."""
        values = {name: value for name, value in vars(self).items() if name not in ("best", "history", "best_key")}
        return {
            **values,
            "best_key": list(self.best_key) if self.best_step else None,
            "history": self.history.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], best: dict[str, Tensor]) -> "Progress":
        """The reverse of `to_dict`."""
        metric, loss = values["best_key"] or (-math.inf, -math.inf)
        history = History.from_dict(values["history"])
        return cls(**{**values, "best_key": (metric, loss), "history": history, "best": best})


def save_state(
    folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int, engine: Engine = ALONE
) -> None:
    """Write one more state into `folder`, and then remove all but the last `keep`; every process must call."""
    states = saved_states(folder)
    place = folder / STATES / f"{int(states[-1].name) + 1 if states else 1:05d}"
    with engine.staged(place) as stage:
        engine.write(tensors, stage)
        if engine.rank == 0:
            write_json(stage / FACTS, {**facts, "crc32": _checksum(facts)})
    if engine.rank == 0:
        for old in saved_states(folder)[:-keep]:
            shutil.rmtree(old)
    engine.wait()


def saved_states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    return sorted(path for path in (folder / STATES).glob("[0-9]*") if path.is_dir())


def read_state(folder: Path) -> tuple[Weights | ShardedWeights, dict[str, Any]] | None:
    """The tensors and facts of the newest state that is whole; None where there is none at all.

    Damaged ones after it are named on the "minitl" logger, and removed. CheckpointError where none is whole.
    """
    for left in (folder / STATES).glob(".*.partial"):  # of a process that was killed while it saved
        shutil.rmtree(left, ignore_errors=True)
    damaged: dict[Path, str] = {}
    for place in reversed(saved_states(folder)):
        try:
            facts = read_json(place / FACTS)
            if facts.pop("crc32", None) != _checksum(facts):
                raise CheckpointError(f"{place / FACTS}: the content does not match its checksum: it is damaged")
            weights = open_tensors(place)
        except CheckpointError as error:
            damaged[place] = str(error)
            continue
        for later, problem in damaged.items():
            log.warning("%s; goes on from the state before, of step %d", problem, facts["progress"]["step"])
            shutil.rmtree(later)
        return weights, facts
    if damaged:
        raise CheckpointError(
            f"no state in {folder / STATES} is whole: {'; '.join(damaged.values())}: resume=False begins anew"
        )
    return None


def _checksum(facts: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def check_identity(before: Any, now: Any, folder: Path, forced: bool) -> None:
    """Raise TrainingError where a state is of another training, saying what differs; only say it where `forced`."""
    differing = _differences(before, json.loads(json.dumps(now)))
    if not differing:
        return
    if not forced:
        raise TrainingError(
            f"{folder} holds the state of a training that differs: {', '.join(differing)}: go on as it began, begin "
            'anew (resume=False), or go on all the same (resume="forced")'
        )
    log.warning("%s: goes on with what differs: %s", folder, ", ".join(differing))


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two nested values differ, as "settings.epochs was 3 and is 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))]
    if name.startswith("data."):
        return [] if before == now else [f"the {name.removeprefix('data.')} data"]  # by their digests
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]


def discard_states(folder: Path) -> None:
    """Remove the states of a training that another takes the place of; its features may be of use."""
    if (folder / STATES).exists():
        shutil.rmtree(folder / STATES)


def discard_state(folder: Path) -> None:
    """Remove the states and features of a training whose result is saved; the logs and all other files stay."""
    for name in (STATES, FEATURES):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
