"""Every experiment, in the order in which the guide's claims are asked."""

from minitl.experiments import distilled, forgetting, labels, layers, overfitting, tasks
from minitl.experiments.domain import experiment as domain
from minitl.experiments.evolution import experiment as evolution
from minitl.experiments.experiment import Experiment
from minitl.experiments.family import experiment as family
from minitl.experiments.freezing import experiment as freezing
from minitl.experiments.languages import experiment as languages
from minitl.experiments.lora import experiment as lora

EXPERIMENTS: tuple[Experiment, ...] = (
    labels.EXPERIMENT,
    lora.EXPERIMENT,
    layers.EXPERIMENT,
    freezing.EXPERIMENT,
    overfitting.EXPERIMENT,
    forgetting.EXPERIMENT,
    evolution.EXPERIMENT,
    domain.EXPERIMENT,
    languages.EXPERIMENT,
    tasks.EXPERIMENT,
    family.EXPERIMENT,
    distilled.EXPERIMENT,
)
