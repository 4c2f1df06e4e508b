"""How long and how fast to train: the numbers that are not the model, the data or the strategy."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from minitl.errors import InputError
from minitl.nn.precision import fastest_precision

if TYPE_CHECKING:
    import torch

SCHEDULES = ("linear", "cosine", "slanted", "constant")
AUTOCASTS = ("float32", "bfloat16", "float16", "auto")
OPTIMIZERS = ("adamw", "adafactor", "muon", "sgd")
USUAL = {"adafactor": 1e-2, "sgd": 1e-2}  # rates of optimisers whose steps are of another size than AdamW's
# What leaves the weights as they are. What is drawn in a validation, and with it the best one, depends on its batches.
WATCHING = ("log_every", "save_every", "keep", "tensorboard", "features")


@dataclass(frozen=True)
class Settings:
    """Defaults are BERT's fine-tuning recipe (Devlin et al. 2019, appendix A.3) where it has one.

    epochs            passes over the training examples
    steps             optimiser steps in all, in place of epochs; a stream needs it, for it has no end
    batch_size        examples per forward pass
    accumulation      batches per optimiser step; the loss is normalised over all their real targets
    optimizer         "adamw" (fused), "adafactor", "muon" or "sgd", see `make_optimizer`
    learning_rate     peak of the schedule; None = what is usual for the optimiser (`USUAL`), or else for the strategy
                      (`Strategy.usual_rate`). Adafactor's is a share of each weight's size
    weight_decay      on matrices only: biases and norms are not decayed
    warmup            share of the steps over which the rate rises linearly from 0
    schedule          after the warm-up "linear" or "cosine" fall to 0, "slanted" (linear to a 32nd of the peak, Howard
                      & Ruder 2018, equation 3), or "constant"
    clip              largest norm of the whole gradient; 0 = no clipping
    autocast          "float32", or "bfloat16" or "float16" for half-precision matrix products over float32 weights,
                      validation too; the losses of float16 are scaled so that small gradients survive. "auto" is
                      bfloat16 where the device has instructions for it, else float32
    checkpointing     recompute activations in the backward pass instead of keeping them
    ema               decay of a moving average of the weights, which is what is validated and kept; 0 = none
    seed              of batch order, dropout and fresh adapters
    eval_batch_size   examples per forward pass when evaluating
    evaluate_every    optimiser steps between two validations; None = one after each epoch
    patience          validations without a better metric after which the training ends; None = never
    explosion         a loss so many times (1 + that of the first step, or the mean of the first ten where that is
                      lower) ends the training as one that diverged; 0 = none
    log_every         optimiser steps between two lines of the log
    save_every        optimiser steps between two states; None = by time, see `fit`
    keep              how many of the last states stay, should the newest be damaged
    tensorboard       whether the log is also written for TensorBoard
    features          folder in which the features of a frozen backbone are kept for later trainings, too; None = beside
                      the state, as long as that is there
    """

    epochs: int = 3
    steps: int | None = None
    batch_size: int = 32
    accumulation: int = 1
    optimizer: str = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: str = "linear"
    clip: float = 1.0
    autocast: str = "float32"
    checkpointing: bool = False
    ema: float = 0.0
    seed: int = 0
    eval_batch_size: int = 64
    evaluate_every: int | None = None
    patience: int | None = None
    explosion: float = 10.0
    log_every: int = 1
    save_every: int | None = None
    keep: int = 2
    tensorboard: bool = False
    features: str | None = None

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulation", "eval_batch_size", "log_every", "keep")
        for name in (*counts, "steps", "patience", "evaluate_every", "save_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        for name, allowed in (("schedule", SCHEDULES), ("autocast", AUTOCASTS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.features is not None and not self.features.strip():
            raise InputError(f"features must name a folder, got {self.features!r}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be at least 0 and below 2^63, got {self.seed}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema is a decay from 0 to below 1, got {self.ema}")
        for name in ("weight_decay", "clip", "explosion"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is a share of the steps, from 0 to 1, got {self.warmup}")

    def with_rate(self, usual: float) -> "Settings":
        """These settings, at the rate that is usual for their optimiser, or else `usual`, where they name none."""
        return self if self.learning_rate is not None else replace(self, learning_rate=USUAL.get(self.optimizer, usual))

    def on(self, device: "torch.device | str") -> "Settings":
        """These settings, in the precision that is fastest on this device where they leave it open."""
        return self if self.autocast != "auto" else replace(self, autocast=fastest_precision(device))

    def check_validation(self, examples: Sequence[Any] | None) -> None:
        """InputError where something is asked of validations, and there are no examples for them."""
        asked = [name for name in ("evaluate_every", "patience") if getattr(self, name) is not None]
        if asked and not examples:
            raise InputError(f"{' and '.join(asked)}: there is no validation split")

    @property
    def peak_rate(self) -> float:
        """The learning rate of settings that name one."""
        assert self.learning_rate is not None, "`with_rate` comes first"
        return self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def decisive(self) -> dict[str, Any]:
        """What the weights depend on, which a training that goes on must share with the one before."""
        return {name: value for name, value in asdict(self).items() if name not in WATCHING}
