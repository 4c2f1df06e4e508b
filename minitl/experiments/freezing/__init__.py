"""Which layers need fine-tuning? Some are held, and what that costs is measured."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.freezing import figures, judge, run

EXPERIMENT = Experiment(
    name="freezing",
    title="Which layers need fine-tuning",
    section="What Each Transformer Layer Actually Learns",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
