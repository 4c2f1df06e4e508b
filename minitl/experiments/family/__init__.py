"""The BERT family under constraints: how large its members are, and how fast they read."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.family import figures, judge, run

EXPERIMENT = Experiment(
    name="family",
    title="The BERT family: size and speed",
    section="The BERT Family — Which Variant for Your Constraints?",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
