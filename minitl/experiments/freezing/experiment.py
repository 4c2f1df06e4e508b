"""Which layers need fine-tuning? Some are held, and what that costs is measured."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.freezing.figures import PICTURES
from minitl.experiments.freezing.judge import STATEMENTS, tell
from minitl.experiments.freezing.run import run

EXPERIMENT = Experiment(
    name="freezing",
    title="Which layers need fine-tuning",
    section="What Each Transformer Layer Actually Learns",
    run=run,
    statements=STATEMENTS,
    tell=tell,
    pictures=PICTURES,
)
