"""LoRA against full fine-tuning: the experiment as a whole."""

from minitl.experiments.experiment import Experiment, Results
from minitl.experiments.lora.figures import PICTURES
from minitl.experiments.lora.judge import STATEMENTS, accuracy, seconds, title
from minitl.experiments.lora.run import FULL, preferred, run
from minitl.pages.formats import duration, megabytes, percent, rate, share_trained


def _tell(results: Results) -> str:
    ways = preferred(results["lines"])
    told = []
    for lines in ways.values():
        one = lines[0]
        told.append(
            f"{title(one)} {percent(accuracy(lines))}, {share_trained(100 * one['trainable'] / one['total'])} of the "
            f"parameters, {megabytes(one['saved_bytes'])} on disk, "
            f"{duration(seconds(lines))} at the rate {rate(one['rate'])}"
        )
    rates = {name: sorted({line["rate"] for line in results["lines"] if (line["arm"] == FULL) == (name == FULL)})
             for name in (FULL, "LoRA")}  # fmt: skip
    tried = "; ".join(f"{name} {' and '.join(map(rate, found))}" for name, found in rates.items())
    return (
        f"{'; '.join(told)}. The rates tried were {tried}, and validation chose; alpha is twice the rank. For a model "
        "of 7 billion parameters LoRA spares gradients, masters and moments, and about a third of the operations: it "
        "fits where full fine-tuning does not, and is not much quicker."
    )


EXPERIMENT = Experiment(
    name="lora",
    title="LoRA: which rank, which layers, and what it spares",
    section="LoRA — Low-Rank Adaptation of Large Language Models",
    run=run,
    statements=STATEMENTS,
    tell=_tell,
    pictures=PICTURES,
)
