"""The five ways of learning a task that the study compares."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from minitl.adapters import LoraConfig
from minitl.errors import InputError
from minitl.training import FROZEN, FULL, GRADUAL, Strategy


@dataclass(frozen=True)
class Arm:
    """One regime.

    pretrained      start from the checkpoint's weights, or from random ones of the same shape
    learning_rate   the default: what `--search` chose on the embedded reviews' validation split, at 1,000 labels
    rates           what `--search` tries, equally many for every arm
    epochs          passes over the data; more where an epoch costs next to nothing
    """

    name: str
    title: str
    description: str
    strategy: Strategy
    pretrained: bool
    learning_rate: float
    rates: tuple[float, ...]
    epochs: int = 3

    def at(self, learning_rate: float) -> "Arm":
        return replace(self, learning_rate=learning_rate)


# Every linear layer of the transformer layers, but not the pooler, which "all-linear" has too.
LORA = Strategy("lora", lora=LoraConfig(r=16, alpha=32, dropout=0.1, target_modules=r".*\.\d+\..*"))

ARMS = (
    Arm(
        "scratch",
        "Random initialisation",
        "the same architecture with random weights: everything is learnt from the labels",
        FULL,
        pretrained=False,
        learning_rate=1e-4,
        rates=(1e-4, 3e-4, 5e-4),
    ),
    Arm(
        "frozen",
        "Frozen features + linear head",
        "the backbone is a fixed function, computed once; a linear classifier learns on its pooled output",
        FROZEN,
        pretrained=True,
        learning_rate=3e-2,
        rates=(3e-3, 1e-2, 3e-2),
        epochs=30,
    ),
    Arm(
        "gradual",
        "Gradual unfreezing",
        "the head first, then the layers from the top down, all of them from half of the training on",
        GRADUAL,
        pretrained=True,
        learning_rate=2e-4,
        rates=(5e-5, 1e-4, 2e-4),
    ),
    Arm(
        "lora",
        "LoRA (r = 16, all linear layers)",
        "the backbone stays frozen; low-rank updates of its linear layers and the head learn",
        LORA,
        pretrained=True,
        learning_rate=5e-4,
        rates=(5e-4, 1e-3, 2e-3),
    ),
    Arm(
        "full",
        "Full fine-tuning",
        "every parameter learns",
        FULL,
        pretrained=True,
        learning_rate=2e-4,
        rates=(5e-5, 1e-4, 2e-4),
    ),
)


def short(title: str) -> str:
    """An arm's title without its details, for plots and narrow columns: "LoRA" of "LoRA (r = 16, …)"."""
    return re.split(r" [(+]", title, maxsplit=1)[0]


def arms_named(names: Sequence[str] | None) -> list[Arm]:
    """The arms of these names in the study's order, all for None; InputError lists the known ones."""
    known = [arm.name for arm in ARMS]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InputError(f"unknown arm {', '.join(unknown)}; known: {', '.join(known)}")
    return [arm for arm in ARMS if names is None or arm.name in names]
