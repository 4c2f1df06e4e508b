"""Every experiment, in the order of the guide."""

from minitl.experiments import labels
from minitl.experiments.evolution.experiment import EXPERIMENT as EVOLUTION
from minitl.experiments.experiment import Experiment
from minitl.experiments.languages.experiment import EXPERIMENT as LANGUAGES

EXPERIMENTS: tuple[Experiment, ...] = (labels.EXPERIMENT, EVOLUTION, LANGUAGES)
