"""How long and how fast to train: the numbers that are not the model, the data or the strategy."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from minitl.errors import InputError

SCHEDULES = ("linear", "cosine", "slanted", "constant")


@dataclass(frozen=True)
class Settings:
    """Defaults are BERT's fine-tuning recipe (Devlin et al. 2019, appendix A.3) where it has one.

    epochs            passes over the training examples
    batch_size        examples per forward pass
    accumulation      batches per optimiser step; the loss is normalised over all their real targets
    learning_rate     peak of the schedule; None = what is usual for the strategy, `Strategy.usual_rate`
    weight_decay      of AdamW, on matrices only: biases and norms are not decayed
    warmup            share of the steps over which the rate rises linearly from 0
    schedule          after the warm-up "linear" or "cosine" fall to 0, "slanted" (linear to a 32nd of the peak, Howard
                      & Ruder 2018, equation 3), or "constant"
    clip              largest norm of the whole gradient; 0 = no clipping
    autocast          "float32", or "bfloat16" for half-precision matrix products over float32 weights, validation too
    seed              of batch order, dropout and fresh adapters
    eval_batch_size   examples per forward pass when evaluating
    log_every         optimiser steps between two lines of the log
    patience          epochs without a better validation metric after which the training ends; None = never
    """

    epochs: int = 3
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: str = "linear"
    clip: float = 1.0
    autocast: str = "float32"
    seed: int = 0
    eval_batch_size: int = 64
    log_every: int = 1
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "eval_batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience must be at least 1, got {self.patience}")
        for name, allowed in (("schedule", SCHEDULES), ("autocast", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in ("weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is a share of the steps, from 0 to 1, got {self.warmup}")

    def with_rate(self, usual: float) -> "Settings":
        """These settings, at the `usual` learning rate where they name none."""
        return self if self.learning_rate is not None else replace(self, learning_rate=usual)

    @property
    def peak_rate(self) -> float:
        """The learning rate of settings that name one."""
        assert self.learning_rate is not None, "`with_rate` comes first"
        return self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
