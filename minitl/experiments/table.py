"""Every experiment, in the order of the guide."""

from minitl.experiments import distilled, domain, forgetting, freezing, labels, overfitting
from minitl.experiments.experiment import Experiment
from minitl.experiments.family import experiment as family
from minitl.experiments.lora import experiment as lora

EXPERIMENTS: tuple[Experiment, ...] = (
    labels.EXPERIMENT,
    lora.EXPERIMENT,
    freezing.EXPERIMENT,
    overfitting.EXPERIMENT,
    forgetting.EXPERIMENT,
    domain.EXPERIMENT,
    family.EXPERIMENT,
    distilled.EXPERIMENT,
)
