"""Static → contextual → pretrained: four kinds of models on the same tokens, and the word that has two meanings."""

from minitl.experiments.evolution.figures import PICTURES, tell
from minitl.experiments.evolution.judge import STATEMENTS
from minitl.experiments.evolution.run import run
from minitl.experiments.experiment import Experiment

EXPERIMENT = Experiment(
    name="evolution",
    title="Word2Vec → ELMo → BERT → GPT",
    section="The Evolution: Word2Vec → ELMo → BERT → GPT",
    run=run,
    statements=STATEMENTS,
    tell=tell,
    pictures=PICTURES,
)
