"""Half of a BERT's layers, taught by the whole: how much of its accuracy is left?

    the project's own BERT ─┬─ fine-tuned ────────────────────────────────────────── the whole
                            ├─ layers 0, 2, 4 ─ fine-tuned ───────────────────────── by labels alone
                            ├─ layers 0, 2, 4 ─ distilled on its own text ─ fine-tuned   DistilBERT's way
                            └─ fine-tuned ─ layers 0, 2, 4 ─ distilled on the task ─── taught by the fine-tuned one

DistilBERT (Sanh et al. 2019, arXiv:1910.01108) is the third; its authors report 97% of BERT's score on GLUE. The fourth
is what recipes/sst2_distilled.toml does.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from minitl.experiments.checkpoints import weights_of
from minitl.experiments.experiment import Experiment, Picture, Results, Statement
from minitl.experiments.lines import draw_rows
from minitl.experiments.paired import marks, paired
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import commonest
from minitl.experiments.teaching import teach
from minitl.experiments.texts import more_from
from minitl.pages.claims import Verdict
from minitl.pages.drawing import MUTED, new_figure
from minitl.pages.formats import percent, with_noise
from minitl.training import Listener, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE, HALF, ON_TEXT, ON_TASK = "whole", "half", "distilled-text", "distilled-task"
TITLES = {
    WHOLE: "All layers",
    HALF: "Half, by labels alone",
    ON_TEXT: "Half, distilled on text (DistilBERT)",
    ON_TASK: "Half, distilled on the task",
}
KEPT = 0.97
MODEL = "model"  # a run's saved model


@dataclass(frozen=True)
class Scale:
    """How much is run.

    layers         that the student keeps
    text           that the student reads beside its teacher: what the teacher itself was pretrained on
    steps, rows    optimiser steps of that, and blocks of `block` tokens in each
    labels         of the task; `epochs` at `rate`, the study's for full fine-tuning, for every student and the whole
    chosen         so many validation examples choose the epoch
    more           a set of the same classes, of which what is not in `data` joins the test split

    A full run distils on 3.3 million tokens of some 45 · 10⁶ FLOPs, 16 minutes at 150 GFLOP/s; the twelve fine-tunings
    together take 9 · 10¹³, another 10.
    """

    source: str = "novels-bert"
    layers: tuple[int, ...] = (0, 2, 4)
    text: str = "novels-eng"
    steps: int = 1600
    rows: int = 16
    block: int = 128
    data: str = "sst2"
    labels: int = 10_000
    epochs: int = 3
    rate: float = 2e-4
    max_length: int = 128
    chosen: int = 1000
    more: str = "sentence_polarity"
    seeds: tuple[int, ...] = (0, 1, 2)


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """The distillation on text once, as a checkpoint is published once; then every way at every seed."""
    told = {**asdict(scale), "weights": weights_of(scale.source)}
    distilled = runs.once(ON_TEXT, told, partial(_distil, scale), makes=MODEL)
    lines = []
    for seed in scale.seeds:
        for arm in TITLES:
            values = _recipe(runs, scale, arm, seed)
            line = runs.once(
                f"{arm}-{seed}",
                told,
                partial(_fine_tune, values, scale),
                makes=MODEL if arm == WHOLE else None,
                after={ON_TEXT: [ON_TEXT], ON_TASK: [f"{WHOLE}-{seed}"]}.get(arm, []),
            )
            lines.append({"arm": arm, "seed": seed, **line})
    return {
        "model": f"{scale.source}, and {len(scale.layers)} of its layers",
        "data": f"{scale.data}, {scale.labels:,} labels; {scale.text}; tested with {scale.more}",
        "seeds": len(scale.seeds),
        "distilled": distilled,
        "lines": lines,
        "tested": len(lines[0]["right"]),
        "commonest": lines[0]["commonest"],
    }


def _distil(scale: Scale, folder: Path, listener: Listener | None) -> dict[str, Any]:
    """DistilBERT's own training: every other layer, the words that are hidden, and what the whole says of them."""
    values = {
        "task": "masked-lm",
        "model": {"source": scale.source, "layers": list(scale.layers)},
        "data": {"source": scale.text, "validation_fraction": 0.02},
        "options": {"max_length": scale.block, "whole_words": True},
        "distillation": {"teacher": scale.source},
        "training": {
            "steps": scale.steps,
            "batch_size": scale.rows,
            "learning_rate": 5e-4,
            "warmup": 0.05,
            "eval_batch_size": scale.rows,
        },
    }
    taught = teach(values, folder, listener)
    taught.save(folder / MODEL)
    return taught.facts()


def _recipe(runs: Runs, scale: Scale, arm: str, seed: int) -> dict[str, Any]:
    """The fine-tuning of one way."""
    whole = str(runs.at(f"{WHOLE}-{seed}") / MODEL)
    begins = {
        WHOLE: {"source": scale.source},
        HALF: {"source": scale.source, "layers": list(scale.layers)},
        ON_TEXT: {"source": str(runs.at(ON_TEXT) / MODEL)},
        ON_TASK: {"source": whole, "layers": list(scale.layers)},
    }
    return {
        "task": "classification",
        "model": begins[arm],
        "data": {"source": scale.data},
        "options": {"max_length": scale.max_length},
        **({"distillation": {"teacher": whole}} if arm == ON_TASK else {}),
        "training": {"epochs": scale.epochs, "learning_rate": scale.rate, "seed": seed},
    }


def _fine_tune(values: Mapping[str, Any], scale: Scale, folder: Path, listener: Listener | None) -> dict[str, Any]:
    taught = teach(values, folder, listener, scale.labels, scale.chosen)
    begun = taught.begun
    test = [*begun.data.test, *more_from(scale.more, begun.data)]
    answers = predict(begun.model, test, task=begun.task, batch_size=64)
    if "layers" not in values["model"] and "distillation" not in values:
        taught.save(folder / MODEL)
    labels = [example.label for example in test]
    right, floor = marks(answers.argmax(-1).tolist(), labels), commonest(labels)
    return {"accuracy": right.count("1") / len(right), "right": right, "commonest": floor, **taught.facts()}


def of_arm(results: Results, arm: str) -> list[dict[str, Any]]:
    """The lines of one way."""
    return [line for line in results["lines"] if line["arm"] == arm]


def accuracy(results: Results, arm: str) -> float:
    """The mean over seeds."""
    return fmean(line["accuracy"] for line in of_arm(results, arm))


def kept(results: Results, arm: str) -> tuple[float, float]:
    """The share of the whole's accuracy that a student has, and the noise of that."""
    students, whole = ([line["right"] for line in of_arm(results, one)] for one in (arm, WHOLE))
    gain, margin = paired(students, whole)
    return 1 + gain / accuracy(results, WHOLE), margin / accuracy(results, WHOLE)


def _judge(results: Results) -> tuple[str, Verdict]:
    parts = [f"all layers {percent(accuracy(results, WHOLE))}"]
    for arm in (ON_TEXT, ON_TASK, HALF):
        share, margin = kept(results, arm)
        parts.append(
            f"{TITLES[arm].replace('Half', 'half')} {percent(accuracy(results, arm))}, {percent(share)} of it (noise "
            f"±{margin * 100:.1f})"
        )
    share, margin = kept(results, ON_TEXT)
    verdict = Verdict.HOLDS if share - margin >= KEPT else Verdict.IN_PART if share + margin >= KEPT else Verdict.FAILS
    whole, half = (of_arm(results, arm)[0]["total"] for arm in (WHOLE, ON_TEXT))
    return f"{'; '.join(parts)}; {half / whole:.0%} of the parameters.", verdict


def _better_distilled(results: Results) -> tuple[str, Verdict]:
    told, ahead, behind = [], [], []
    for arm in (ON_TEXT, ON_TASK):
        students, half = ([line["right"] for line in of_arm(results, one)] for one in (arm, HALF))
        gain, margin = paired(students, half, comparisons=2)
        ahead.append(gain > margin)
        behind.append(gain < -margin)
        told.append(f"{TITLES[arm].replace('Half', 'half')} {with_noise(gain, margin)}")
    verdict = Verdict.HOLDS if all(ahead) else Verdict.IN_PART if any(ahead) else Verdict.UNKNOWN
    return f"Against half by labels alone: {'; '.join(told)}.", Verdict.FAILS if any(behind) else verdict


def _tell(results: Results) -> str:
    above = {arm: accuracy(results, arm) - results["commonest"] for arm in (ON_TEXT, WHOLE)}
    return (
        f"The commonest answer is right on {percent(results['commonest'])}: of what the whole has above that, the half "
        f"that was distilled on text has {percent(above[ON_TEXT] / above[WHOLE])}. The whole is a small BERT that read "
        "little; what half of a larger one loses may be more or less."
    )


def _draw(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 3.0), small=(3.9, 3.2))
    for place, arm in enumerate(TITLES):
        draw_rows(axes, [place], [[line["accuracy"] for line in of_arm(results, arm)]], place)
    axes.axvline(KEPT * 100 * accuracy(results, WHOLE), color=MUTED, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(TITLES)), list(TITLES.values()), fontsize=8 if narrow else 11)
    axes.margins(y=0.15)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test accuracy, %")
    return figure


def _describe(results: Results) -> str:
    parts = (f"{title}: {percent(accuracy(results, arm))}" for arm, title in TITLES.items())
    return f"Test accuracy of the whole and of its halves. {'. '.join(parts)}. Dashed: 97% of the whole's."


EXPERIMENT = Experiment(
    name="distilled",
    title="Half of a BERT, taught by the whole",
    section="The BERT Family — Which Variant for Your Constraints?",
    run=run,
    statements=(
        Statement(
            "DistilBERT has 97% of BERT’s accuracy.",
            "Of the half that was distilled on text and then fine-tuned, as DistilBERT was: holds when all of the 95% "
            "interval is from 97% of the accuracy of the whole on, in part when some of it is.",
            _judge,
        ),
        Statement(
            "Asked beside the guide: half the layers are better distilled than cut out and fine-tuned.",
            "Holds when both halves that were distilled are ahead of the half by labels alone by more than the noise, "
            "of two comparisons; in part when one is; not when one is surely behind; cannot be judged when neither is "
            "surely ahead or behind.",
            _better_distilled,
        ),
    ),
    tell=_tell,
    pictures=(
        Picture(
            "distilled",
            "Test accuracy on SST-2 of the project’s own BERT and of half its layers: means and every seed; dashed, "
            "97% of the whole’s.",
            _draw,
            _describe,
        ),
    ),
)
