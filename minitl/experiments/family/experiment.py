"""The BERT family under constraints: the experiment as a whole."""

from statistics import median

from minitl.experiments.experiment import Experiment, Results
from minitl.experiments.family.figures import PICTURES
from minitl.experiments.family.judge import STATEMENTS
from minitl.experiments.family.run import TITLES, run


def _tell(results: Results) -> str:
    longest = results["own_positions"]
    times = {}
    for line in results["speed"]:
        if line["length"] == longest:
            times[TITLES[line["name"]]] = median(line["seconds"]) / line["batch"] * 1000
    shown = ", ".join(f"{title} {milliseconds:,.0f} ms" for title, milliseconds in times.items())
    embeddings = max(results["members"], key=lambda one: one["embeddings"] / one["total"])
    return (
        f"Much of a base model's size is its vocabulary: of {TITLES[embeddings['name']]}'s parameters "
        f"{embeddings['embeddings'] / embeddings['total']:.0%} are embeddings, of which a text reads a few rows; speed "
        f"goes with the layers. A text of {longest} tokens takes {shown}. The shapes are the published ones, the "
        "weights random, which makes no difference to either; accuracy is not judged here."
    )


EXPERIMENT = Experiment(
    name="family",
    title="The BERT family: size and speed",
    section="The BERT Family — Which Variant for Your Constraints?",
    run=run,
    statements=STATEMENTS,
    tell=_tell,
    pictures=PICTURES,
)
