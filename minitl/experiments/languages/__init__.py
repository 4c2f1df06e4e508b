"""One model, several languages: taught in one of them, asked in the others."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.languages import figures, judge, run

EXPERIMENT = Experiment(
    name="languages",
    title="Zero-shot transfer to other languages",
    section="Multilingual Transfer Learning — One Model, 100 Languages",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
