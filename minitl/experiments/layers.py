"""What each layer knows: the guide's table of layers beside probes, carried out as `minitl probe` does.

MiniLM × {form, syntax, semantics, task: 14 tasks} × 7 representations × 3 seeds
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.checkpoints.hub import MINILM
from minitl.experiments.experiment import Experiment, Picture, Results, Statement, here
from minitl.experiments.runs import Runs
from minitl.models.loading import load_model
from minitl.pages.claims import Verdict
from minitl.pages.formats import percent
from minitl.probing.guide import KINDS, ORDER_RULE, PATTERN, ROWS, RULE, Profile, said_of
from minitl.probing.probe import DEFAULT_TASKS, Settings, probe
from minitl.probing.record import judged_anew, record, recorded_profiles
from minitl.tokenization import load_tokenizer
from minitl.training import Listener

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Scale:
    """How much is run: each task is read, and probed with its random twin and its control task.

    Code lengths, which decide nothing here, are left to `minitl probe`.

    dataset     for all tasks; None = each task's own
    sentences   of the training part; validation and test have a quarter of it each
    """

    source: str = MINILM
    tasks: tuple[str, ...] = DEFAULT_TASKS
    dataset: str | None = None
    sentences: int = 2000
    seeds: int = 3


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Every task by itself, so that none is probed twice."""
    settings = {"source": scale.source, "dataset": scale.dataset, "sentences": scale.sentences, "seeds": scale.seeds}
    records = [runs.once(name, {**settings, "task": name}, partial(_probed, scale, name)) for name in scale.tasks]
    tasks = [task for one in records for task in one["tasks"]]
    corpora = dict.fromkeys(task["corpus"].partition(",")[0] for task in tasks)  # what of it: "ud-en, words swapped"
    probed = {**records[0], "tasks": tasks, "seconds": sum(one["seconds"] for one in records)}
    return {
        "model": "all-MiniLM-L6-v2" if scale.source == MINILM else scale.source,
        "data": f"{', '.join(corpora)}; up to {scale.sentences:,} sentences of each",
        "seeds": scale.seeds,
        "probed": judged_anew(probed),
    }


def _probed(scale: Scale, name: str, _folder: Path, _listener: Listener | None) -> dict[str, Any]:
    model, tokenizer = here(lambda: (load_model(scale.source, "backbone"), load_tokenizer(scale.source)))
    settings = Settings(seeds=scale.seeds, unreadable="skip", code=False)
    return record(
        here(lambda: probe(model, tokenizer, scale.dataset, [name], sentences=scale.sentences, settings=settings))
    )


def _row(place: int) -> Callable[[Results], tuple[str, Verdict]]:
    def judge(results: Results) -> tuple[str, Verdict]:
        claim = results["probed"]["guide"][place]
        return f"{claim['measured'][0].upper()}{claim['measured'][1:]}.", Verdict(claim["verdict"])

    return judge


def _profiles(results: Results) -> list[Profile]:
    return recorded_profiles(results["probed"])


def _tell(results: Results) -> str:
    told = []
    for profile in _profiles(results):
        best = profile.scores[profile.layers.index(profile.best)].mean
        where = f"layer {profile.best}" if profile.best else "the embeddings"
        told.append(f"{profile.title} {percent(best)} at {where} ({percent(profile.floor)} without vectors)")
    depth = results["probed"]["model"]["layers"]
    return (
        f"The best layer of each task, which validation chose: {'; '.join(told)}. The guide's table is of BERT's "
        f"twelve layers; this model's {depth} are parted in the same proportion, and a verdict is about this model and "
        "these tasks."
    )


def _draw(results: Results, narrow: bool) -> "Figure":
    from minitl.probing.figures import draw_heat

    return draw_heat(_profiles(results), narrow)


def _describe(results: Results) -> str:
    told = [
        f"{profile.title}: " + ", ".join(f"{one.mean * 100:.1f}" for one in profile.scores)
        for profile in _profiles(results)
    ]
    return f"Scores in %, from the embeddings up. {'; '.join(told)}."


EXPERIMENT = Experiment(
    name="layers",
    title="What each layer knows",
    section="What Each Transformer Layer Actually Learns",
    run=run,
    statements=(
        *(Statement(f"{said_of(kind)}.", RULE, _row(place)) for place, kind in enumerate(KINDS)),
        Statement(f"{PATTERN}.", ORDER_RULE, _row(len(ROWS))),
    ),
    tell=_tell,
    pictures=(
        Picture(
            "heat",
            "Linear probes on test examples, mean over seeds, in %. The shade goes from what one gets without looking "
            "at a vector to the task’s best layer; the one that validation chose is bold.",
            _draw,
            _describe,
        ),
    ),
)
