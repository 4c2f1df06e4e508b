"""Does going on with pretraining on text of the domain help on its tasks?"""

from minitl.experiments.domain.figures import PICTURES
from minitl.experiments.domain.judge import STATEMENTS, tell
from minitl.experiments.domain.run import run
from minitl.experiments.experiment import Experiment

EXPERIMENT = Experiment(
    name="domain",
    title="Adapting to a domain before fine-tuning",
    section="Domain-Adaptive Pretraining — Closing the Domain Gap",
    run=run,
    statements=STATEMENTS,
    tell=tell,
    pictures=PICTURES,
)
