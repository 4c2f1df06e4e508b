"""LoRA against full fine-tuning: which rank, which layers, and what it spares."""

from minitl.experiments.experiment import Experiment
from minitl.experiments.lora import figures, judge, run

EXPERIMENT = Experiment(
    name="lora",
    title="LoRA: which rank, which layers, and what it spares",
    section="LoRA — Low-Rank Adaptation of Large Language Models",
    run=run.run,
    statements=judge.STATEMENTS,
    tell=judge.tell,
    pictures=figures.PICTURES,
)
