"""Every experiment, in the order of the guide."""

from minitl.experiments import labels
from minitl.experiments.evolution.experiment import EXPERIMENT as EVOLUTION
from minitl.experiments.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (labels.EXPERIMENT, EVOLUTION)
