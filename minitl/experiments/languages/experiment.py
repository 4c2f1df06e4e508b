"""One model, several languages: taught in one of them, asked in the others."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.languages.figures import PICTURES, tell
from minitl.experiments.languages.judge import STATEMENTS
from minitl.experiments.languages.run import run

EXPERIMENT = Experiment(
    name="languages",
    title="Zero-shot transfer to other languages",
    section="Multilingual Transfer Learning — One Model, 100 Languages",
    run=run,
    statements=STATEMENTS,
    tell=tell,
    pictures=PICTURES,
)
