"""Does going on with pretraining on text of the domain help on its tasks?"""

from minitl.experiments.domain import figures, judge, run
from minitl.experiments.experiment import Experiment

EXPERIMENT = Experiment(
    name="domain",
    title="Adapting to a domain before fine-tuning",
    section="Domain-Adaptive Pretraining — Closing the Domain Gap",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
