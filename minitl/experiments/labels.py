"""How many labels does it take, with transfer and without, and which way of fine-tuning is best at how many?

SST-2, 50 … 10,000 labels × five arms × seeds       film reviews, all of them × {full, scratch} × seeds
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.checkpoints.hub import MINILM
from minitl.data import Dataset, load_dataset
from minitl.experiments.experiment import Experiment, Picture, Results, Statement, here
from minitl.experiments.lines import Line, draw_line, log_axis, name_lines
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import Measured, commonest, noise
from minitl.experiments.study.arms import ARMS, arms_named, short
from minitl.experiments.study.claims import SCRATCH_RANGE, TRANSFER_RANGE, against_range, with_interval
from minitl.experiments.study.run import Plan, Run, carry_out
from minitl.pages.claims import Verdict
from minitl.pages.drawing import MUTED, new_figure
from minitl.pages.formats import percent, points, with_noise
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.training import Listener

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCRATCH, FULL = "scratch", "full"
SHORT = {arm.name: short(arm.title) for arm in ARMS}
THOUSAND, FEW = 1000, 500
REVIEWS, REVIEWS_FROM_SCRATCH = 0.934, 0.55  # the guide, of BERT-base and of a random Transformer on 2,000 reviews
KEPT = ("accuracy", "validation_accuracy", "training_seconds", "steps", "best_epoch", "trainable")


@dataclass(frozen=True)
class Scale:
    """How much is run; the fields of `Plan` where they are its own.

    least_steps   fewer labels are read in more epochs, until so many steps are taken
    from_scratch  the same for random weights on the curve: in a few dozen steps they learn the commonest answer alone
    tested        so many texts of the test split, the first ones; None = all
    """

    source: str = MINILM
    data: str = "sst2"
    labels: tuple[int, ...] = (50, 200, 500, 1000, 2000, 10_000)
    reviews: str = "movie_reviews"
    review_length: int = 256
    seeds: tuple[int, ...] = (0, 1, 2)
    least_steps: int = 60
    from_scratch: int = 500
    tested: int | None = None


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Every arm at every number of labels; of the reviews the two that the guide compares."""
    least = {arm.name: scale.least_steps for arm in ARMS}
    curve = _trained(runs, scale, scale.data, scale.labels, {**least, SCRATCH: scale.from_scratch}, 128)
    both = {name: least[name] for name in (SCRATCH, FULL)}
    reviews = _trained(runs, scale, scale.reviews, None, both, scale.review_length)
    return {
        "model": "all-MiniLM-L6-v2, and its shape with random weights",
        "data": f"{scale.data}, {scale.labels[0]} to {scale.labels[-1]:,} labels; {scale.reviews}",
        "seeds": len(scale.seeds),
        "curve": curve,
        "reviews": reviews,
    }


def _trained(
    runs: Runs, scale: Scale, name: str, sizes: Sequence[int] | None, arms: Mapping[str, int], max_length: int
) -> dict[str, Any]:
    """The runs of one data set, each a line; `sizes` None = one size, all the training texts there are.

    arms   the least steps of each
    """
    data = here(lambda: load_dataset(name, test_fraction=0.2))
    tokenizer = here(lambda: load_tokenizer(scale.source))
    data = replace(data, test=data.test[: scale.tested])
    sizes = sizes or [len(data.train)]
    plan = Plan(scale.source, name, sizes[-1], (), scale.seeds, tuple(arms), {}, max_length=max_length)
    lines = []
    for labels in sizes:
        for arm in arms_named(list(arms)):
            least = arms[arm.name]
            for seed in scale.seeds:
                one = Run(arm, labels, seed)
                line = runs.once(
                    f"{Path(name).name}-{one.key}",
                    {
                        "scale": [scale.source, name, max_length, least, scale.tested],
                        "rate": arm.learning_rate,
                        "epochs": arm.epochs,
                        "strategy": asdict(arm.strategy),
                    },
                    partial(_line, one, replace(plan, least_steps=least), data, tokenizer),
                )
                lines.append({"arm": arm.name, "labels": labels, "seed": seed, **line})
    answers = [example.label for example in data.test]
    return {"test": len(answers), "commonest": commonest(answers), "lines": lines}


def _line(
    one: Run, plan: Plan, data: Dataset, tokenizer: Tokenizer, folder: Path, listener: Listener | None
) -> dict[str, Any]:
    line = carry_out(one, plan, data, tokenizer, folder, listener, keep=None)
    line["training_seconds"] = line.pop("seconds")
    return {name: line[name] for name in KEPT}


def accuracies(part: Mapping[str, Any]) -> dict[str, dict[int, Measured]]:
    """From an arm and a number of labels to the accuracies of its seeds."""
    found: dict[str, dict[int, list[float]]] = {}
    for line in part["lines"]:
        found.setdefault(line["arm"], {}).setdefault(line["labels"], []).append(line["accuracy"])
    return {
        arm: {labels: Measured(tuple(values)) for labels, values in by_labels.items()}
        for arm, by_labels in found.items()
    }


def _scratch_at_thousand(results: Results) -> tuple[str, Verdict]:
    one, floor = accuracies(results["curve"])[SCRATCH][THOUSAND], results["curve"]["commonest"]
    told = f"{percent(one.mean)} at 1,000 labels; the commonest answer alone {percent(floor)}."
    if min(one.values) <= floor:
        return told, Verdict.UNKNOWN
    return told, against_range(one, results["curve"]["test"], *SCRATCH_RANGE)


def _transfer_at_thousand(results: Results) -> tuple[str, Verdict]:
    found = {arm: by_labels[THOUSAND] for arm, by_labels in _transfer(results).items()}
    verdicts = {against_range(one, results["curve"]["test"], TRANSFER_RANGE[0], 1.0) for one in found.values()}
    verdict = verdicts.pop() if len(verdicts) == 1 else Verdict.IN_PART
    return f"{_told(found)}, at 1,000 labels.", verdict


def _few_suffice(results: Results) -> tuple[str, Verdict]:
    size, best = results["curve"]["test"], _preferred(results, FEW)
    few = accuracies(results["curve"])[best][FEW]
    most = max(accuracies(results["curve"])[SCRATCH])
    many = accuracies(results["curve"])[SCRATCH][most]
    gain, margin = few.mean - many.mean, noise(few, many, size, len(_transfer(results)))
    verdict = Verdict.HOLDS if gain > margin else Verdict.IN_PART if gain >= -margin else Verdict.FAILS
    told = (
        f"{SHORT[best]} {percent(few.mean)} with {FEW} labels, from scratch {percent(many.mean)} with {most:,.0f}: "
        f"{with_noise(gain, margin)}."
    )
    return told, verdict


def _depends_on_size(results: Results) -> tuple[str, Verdict]:
    """Whether what is best at the fewest labels is another than full fine-tuning, and what at the most."""
    found, size = accuracies(results["curve"]), results["curve"]["test"]
    counts = sorted(found[FULL])
    others = [arm for arm in found if arm not in (SCRATCH, FULL)]
    told, ahead = [], []
    for labels in (counts[0], counts[-1]):
        best = max(others, key=lambda arm: found[arm][labels].mean)
        gain = found[best][labels].mean - found[FULL][labels].mean
        margin = noise(found[best][labels], found[FULL][labels], size, len(others))
        told.append(f"at {labels:,} labels {SHORT[best]} {points(gain)} against full (noise ±{margin * 100:.1f})")
        ahead.append(0 if abs(gain) <= margin else 1 if gain > 0 else -1)
    changes = ahead in ([1, 0], [0, -1])
    verdict = Verdict.HOLDS if ahead == [1, -1] else Verdict.IN_PART if changes else Verdict.FAILS
    return "; ".join(told) + ".", verdict


def _reviews_with_transfer(results: Results) -> tuple[str, Verdict]:
    told, verdict = _reviews(results, FULL, REVIEWS, 1.0)
    return f"{told}, by a model a fifth as large as BERT-base.", verdict


def _reviews_from_scratch(results: Results) -> tuple[str, Verdict]:
    told, verdict = _reviews(results, SCRATCH, 0.0, REVIEWS_FROM_SCRATCH)
    return f"{told}.", verdict


def _reviews(results: Results, arm: str, low: float, high: float) -> tuple[str, Verdict]:
    """What an arm reaches on the reviews, and whether that is between `low` and `high`."""
    size, ((labels, accuracy),) = results["reviews"]["test"], accuracies(results["reviews"])[arm].items()
    return f"{with_interval(accuracy, size)} on {labels:,} reviews", against_range(accuracy, size, low, high)


def _transfer(results: Results) -> dict[str, dict[int, Measured]]:
    return {arm: found for arm, found in accuracies(results["curve"]).items() if arm != SCRATCH}


def _preferred(results: Results, labels: int) -> str:
    """The transfer arm that validation prefers there: the test set has no say in it."""
    scores: dict[str, list[float]] = {}
    for line in results["curve"]["lines"]:
        if line["labels"] == labels and line["arm"] != SCRATCH:
            scores.setdefault(line["arm"], []).append(line["validation_accuracy"])
    return max(scores, key=lambda arm: sum(scores[arm]))


def _told(found: Mapping[str, Measured]) -> str:
    return "; ".join(f"{SHORT[arm]} {percent(one.mean)}" for arm, one in found.items())


def _tell(results: Results) -> str:
    curve = accuracies(results["curve"])
    few, most = min(curve[FULL]), max(curve[FULL])
    preferred = ", ".join(f"{SHORT[_preferred(results, labels)]} at {labels:,}" for labels in sorted(curve[FULL]))
    return (
        f"With {few} labels full fine-tuning is right on {percent(curve[FULL][few].mean)} of the test sentences, with "
        f"{most:,} on {percent(curve[FULL][most].mean)}; the same network from random weights on "
        f"{percent(curve[SCRATCH][few].mean)} and {percent(curve[SCRATCH][most].mean)}. What validation would have "
        f"chosen: {preferred}. Rates are those of the short study, chosen on other reviews with 1,000 labels."
    )


def _draw(results: Results, narrow: bool) -> "Figure":
    figure, axes = new_figure(narrow, wide=(8.4, 4.3), small=(3.9, 3.7))
    lines = [Line(SHORT[arm], found, list(SHORT).index(arm)) for arm, found in accuracies(results["curve"]).items()]
    for line in lines:
        draw_line(axes, line)
    log_axis(axes, sorted(lines[0].points), "labels to train on")
    axes.set_ylabel("test accuracy, %", color=MUTED)
    name_lines(axes, lines, narrow)
    return figure


def _describe(results: Results) -> str:
    told = (
        f"{SHORT[arm]}: " + ", ".join(f"{percent(one.mean)} at {labels:,}" for labels, one in found.items())
        for arm, found in accuracies(results["curve"]).items()
    )
    return "Test accuracy by the number of labels. " + ". ".join(told) + "."


EXPERIMENT = Experiment(
    name="labels",
    title="How many labels, and which way of fine-tuning",
    section="Transfer Learning vs Training from Scratch",
    run=run,
    statements=(
        Statement(
            "From scratch, about 55–65% accuracy at 1,000 labels.",
            "Holds when the mean lies in the range, in part when its 95% interval reaches it. Cannot be judged when a "
            "seed has not learnt more than the commonest answer.",
            _scratch_at_thousand,
        ),
        Statement(
            "With transfer, about 87–94% accuracy at 1,000 labels.",
            "Holds when every way of transfer has a mean of at least 87%, in part when some do or an interval reaches.",
            _transfer_at_thousand,
        ),
        Statement(
            "500 labels suffice, where training from scratch needs millions.",
            "Holds when 500 labels, by the way that validation prefers, beat the most labels from scratch by more than "
            "the noise, in part when they are level.",
            _few_suffice,
        ),
        Statement(
            "Which of the three strategies to choose depends on the size of the data.",
            "Of the other ways the one that is best on the test texts, with the noise of a choice among all of them: "
            "holds when at the fewest labels it is ahead of full fine-tuning, and at the most labels behind, each by "
            "more than the noise; in part when one of the two is level.",
            _depends_on_size,
        ),
        Statement(
            "BERT reaches 93.4% on 2,000 film reviews.",
            "Holds from 93.4% on, in part when the 95% interval reaches it.",
            _reviews_with_transfer,
        ),
        Statement(
            "A randomly initialised Transformer would barely reach 55% on 2,000 film reviews.",
            "Holds when the mean is at most 55%, in part when its 95% interval reaches down to it.",
            _reviews_from_scratch,
        ),
    ),
    tell=_tell,
    pictures=(
        Picture(
            "labels",
            "Test accuracy on SST-2 by the number of labels: mean, standard deviation and every seed.",
            _draw,
            _describe,
        ),
    ),
)
