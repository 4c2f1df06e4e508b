"""What one adapter is made of, under the names of the paper and with the defaults of the contract."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from minitl.errors import InputError

Bias = Literal["none", "all", "lora_only"]


@dataclass(frozen=True)
class LoraConfig:
    """An adapter of rank `r` (Hu et al. 2021, arXiv:2106.09685, section 4.1).

    r               rank of the update; any size, also beyond that of the layer
    alpha           strength of the update, which is scaled by alpha / r
    dropout         probability of dropout on the update's input, in training
    target_modules  which linear layers and embeddings: a list of names, published ("query", "c_attn", "q_proj") or
                    uniform ("attention.query", "feed_forward.up"); "all-linear" for every linear layer but the output
                    layer and a task's own head; another string is a regular expression over whole published paths;
                    None = query and value, or the one projection that holds both
    modules_to_save modules trained and saved in full beside it; a classification head always is. Of a table that both
                    stacks of an encoder-decoder read, PEFT would train a copy that neither reads; here both read it
    bias            which biases are trained and saved: "none", "all", or those of the adapted layers, "lora_only"
    use_rslora      scale by alpha / √r instead, which keeps the update's size at high rank (Kalajdzievski 2023)
    use_dora        learn the size of each row of W + s · BA beside its direction (`minitl.adapters.dora`)
    rank_pattern    {pattern: r} for the layers whose published path, or the end of it from a dot on, the regular
                    expression matches; the first that does decides. Each must match a layer
    alpha_pattern   {pattern: alpha}, alike

    Raises InputError on values that mean nothing.
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    bias: Bias = "none"
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: Mapping[str, int] | None = None
    alpha_pattern: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _check_rank("r", self.r)
        _check_alpha("alpha", self.alpha)
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise InputError(f"LoraConfig: dropout must be a number in [0, 1), got {self.dropout!r}")
        if self.bias not in ("none", "all", "lora_only"):
            raise InputError(f"LoraConfig: bias must be 'none', 'all' or 'lora_only', got {self.bias!r}")
        if not (self.target_modules is None or isinstance(self.target_modules, str) or _is_names(self.target_modules)):
            raise InputError(f"LoraConfig: target_modules must be names or one string, got {self.target_modules!r}")
        if not (self.modules_to_save is None or _is_names(self.modules_to_save)):
            raise InputError(f"LoraConfig: modules_to_save must be a list of names, got {self.modules_to_save!r}")
        for name in ("use_rslora", "use_dora"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"LoraConfig: {name} must be true or false, got {getattr(self, name)!r}")
        for pattern, r in _checked_patterns("rank_pattern", self.rank_pattern).items():
            _check_rank(f"rank_pattern {pattern!r}", r)
        for pattern, alpha in _checked_patterns("alpha_pattern", self.alpha_pattern).items():
            _check_alpha(f"alpha_pattern {pattern!r}", alpha)

    @property
    def scaling(self) -> float:
        """The factor s on the update."""
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def of_layer(self, path: str) -> "LoraConfig":
        """The configuration of the layer with the published path `path`: what the patterns say of it as r and alpha."""
        r, alpha = first_match(self.rank_pattern, path), first_match(self.alpha_pattern, path)
        return replace(
            self,
            r=self.r if r is None else (self.rank_pattern or {})[r],
            alpha=self.alpha if alpha is None else (self.alpha_pattern or {})[alpha],
            rank_pattern=None,
            alpha_pattern=None,
        )


def first_match(patterns: Mapping[str, Any] | None, path: str) -> str | None:
    """The first of `patterns` that matches all of `path`, or all that follows one of its dots (PEFT's rule)."""
    return next((pattern for pattern in patterns or () if re.match(rf"(.*\.)?({pattern})$", path)), None)


def _check_rank(name: str, r: object) -> None:
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise InputError(f"LoraConfig: {name} must be an integer of at least 1, got {r!r}")


def _check_alpha(name: str, alpha: object) -> None:
    if not _is_number(alpha) or not abs(alpha) <= sys.float_info.max:  # type: ignore[arg-type]
        raise InputError(f"LoraConfig: {name} must be a finite number, got {alpha!r}")


def _checked_patterns(name: str, patterns: object) -> Mapping[str, Any]:
    """`patterns`, which must map regular expressions to something; none where it is None."""
    if patterns is None:
        return {}
    if not isinstance(patterns, Mapping) or not all(isinstance(pattern, str) for pattern in patterns):
        raise InputError(f"LoraConfig: {name} must map patterns to values, got {patterns!r}")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"LoraConfig: {name} {pattern!r} is not a regular expression: {error}") from error
    return patterns


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in value)
