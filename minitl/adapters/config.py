"""What one adapter is made of, under the names of the paper and with the defaults of the contract."""

import math
from dataclasses import dataclass
from typing import Literal

from minitl.errors import InputError

Bias = Literal["none", "all", "lora_only"]


@dataclass(frozen=True)
class LoraConfig:
    """An adapter of rank `r` (Hu et al. 2021, arXiv:2106.09685, section 4.1).

    r               rank of the update; any size, also beyond that of the layer
    alpha           strength of the update, which is scaled by alpha / r
    dropout         probability of dropout on the update's input, in training
    target_modules  which linear layers: a list of names, published ("query", "c_attn", "q_proj") or uniform
                    ("attention.query", "feed_forward.up"); "all-linear" for every linear layer of the transformer
                    layers; another string is a regular expression over whole published paths; None = query and value,
                    or the one projection that holds both
    modules_to_save modules trained and saved in full beside it; a classification head always is
    bias            which biases are trained and saved: "none", "all", or those of the adapted layers, "lora_only"
    use_rslora      scale by alpha / √r instead, which keeps the update's size at high rank (Kalajdzievski 2023)

    Raises InputError on values that mean nothing.
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    bias: Bias = "none"
    use_rslora: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.r, bool) or not isinstance(self.r, int) or self.r < 1:
            raise InputError(f"LoraConfig: r must be an integer of at least 1, got {self.r!r}")
        if not _is_number(self.alpha) or not math.isfinite(self.alpha):
            raise InputError(f"LoraConfig: alpha must be a finite number, got {self.alpha!r}")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise InputError(f"LoraConfig: dropout must be a number in [0, 1), got {self.dropout!r}")
        if self.bias not in ("none", "all", "lora_only"):
            raise InputError(f"LoraConfig: bias must be 'none', 'all' or 'lora_only', got {self.bias!r}")
        if not (self.target_modules is None or isinstance(self.target_modules, str) or _is_names(self.target_modules)):
            raise InputError(f"LoraConfig: target_modules must be names or one string, got {self.target_modules!r}")
        if not (self.modules_to_save is None or _is_names(self.modules_to_save)):
            raise InputError(f"LoraConfig: modules_to_save must be a list of names, got {self.modules_to_save!r}")
        if not isinstance(self.use_rslora, bool):
            raise InputError(f"LoraConfig: use_rslora must be true or false, got {self.use_rslora!r}")

    @property
    def scaling(self) -> float:
        """The factor s on the update."""
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
