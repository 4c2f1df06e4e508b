"""Every experiment, in the order of the guide."""

from minitl.experiments import domain, forgetting, freezing, labels, overfitting
from minitl.experiments.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    labels.EXPERIMENT,
    freezing.EXPERIMENT,
    overfitting.EXPERIMENT,
    forgetting.EXPERIMENT,
    domain.EXPERIMENT,
)
