"""Static → contextual → pretrained: four kinds of models on the same tokens, and the word that has two meanings."""

from minitl.experiments.evolution import figures, judge, run
from minitl.experiments.experiment import Experiment

EXPERIMENT = Experiment(
    name="evolution",
    title="Word2Vec → ELMo → BERT → GPT",
    section="The Evolution: Word2Vec → ELMo → BERT → GPT",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
