"""Every experiment, in the order in which the guide's claims are asked.

Each is a file, or a folder of three: `run` carries it out, `judge` says what came of it, `figures` shows it.
"""

from minitl.experiments import (
    distilled,
    domain,
    evolution,
    family,
    forgetting,
    freezing,
    labels,
    languages,
    layers,
    lora,
    overfitting,
    tasks,
)
from minitl.experiments.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    one.EXPERIMENT
    for one in (
        labels, lora, layers, freezing, overfitting, forgetting, evolution, domain, languages, tasks, family, distilled,
    )
)  # fmt: skip
