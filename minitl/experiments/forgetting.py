"""What fine-tuning makes a model forget, by its masked-LM loss on general text, and what guards against it.

pretrained ─ head of masked LM ─► loss on held-out novels, before
    └─ fine-tuned on SST-2, in seven ways ─► accuracy
             └─ the same head of masked LM ─► loss on the same places of the same novels, after
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from minitl.data import Dataset, Example, load_dataset, load_text, sample
from minitl.experiments.checkpoints import weights_of
from minitl.experiments.experiment import Experiment, NotHere, Picture, Results, Statement, here
from minitl.experiments.lines import draw_rows
from minitl.experiments.paired import marks, paired
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import Measured, margin
from minitl.experiments.study.arms import LORA
from minitl.experiments.texts import beginnings
from minitl.models.base import Model
from minitl.models.loading import load_model
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.drawing import INK, MUTED, new_figure
from minitl.pages.formats import percent, points, with_noise
from minitl.tasks.masked_lm import MaskedLM
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tokenization import load_tokenizer
from minitl.training import FULL, GRADUAL, Listener, Settings, Strategy, evaluate, fit, predict
from minitl.training.replay import Replay, lend_backbone

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGH, LOW = 1e-3, 1e-4  # the rate that the model was pretrained with, and a tenth of it
PATIENCE = 2
TERRIBLE = 0.1  # of accuracy
FITTED = 0.1  # nats of training loss up to which the training data is learnt
COARSE = 0.1  # nats of noise from which on it cannot be told that nothing is forgotten


@dataclass(frozen=True)
class Guard:
    """A way of fine-tuning.

    stops      whether it stops early, and keeps the best epoch; else the last one is what is measured
    replays    whether the pretraining goes on beside
    """

    name: str
    title: str
    strategy: Strategy = FULL
    rate: float = HIGH
    stops: bool = False
    replays: bool = False


NONE, LOW_RATE = "none", "low"
GUARDS = (
    Guard(NONE, "No guard"),
    Guard(LOW_RATE, "Low rate", rate=LOW),
    Guard("early", "Early stopping", stops=True),
    Guard("gradual", "Gradual unfreezing", GRADUAL),
    Guard("lora", "LoRA", LORA),
    Guard("l2-sp", "L2-SP", replace(FULL, l2_sp=0.1)),
    Guard("replay", "Replay", replays=True),
)
TITLES = {guard.name: guard.title for guard in GUARDS}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    A token costs the 4.5M weights of the layers 27 MFLOP to learn from: ten epochs over 1,000 sentences of 18 tokens
    are 5 TFLOP, and replaying 1,024 tokens beside each of the 320 steps 10 more. 35 trainings and their measurements:
    250 TFLOP, 28 minutes at 150 GFLOP/s. Five seeds: of three one knows too little for the noise of six comparisons.

    source     a BERT with a masked-LM head, pretrained on `text` less the share that is held out
    words      that are read of each held-out document, and of each that is replayed
    length     tokens of a block of text
    tested     so many texts of the test split, the first ones; None = all
    """

    source: str = "novels-bert"
    data: str = "sst2"
    text: str = "novels-eng"
    held_out: float = 0.02
    words: int = 10_000
    length: int = 128
    labels: int = 1000
    epochs: int = 10
    validation: int = 300
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tested: int | None = None


@dataclass(frozen=True)
class _Part:
    """What every run begins with; `general` and `replayed` are documents of general text."""

    scale: Scale
    data: Dataset
    task: SequenceClassification
    masked: MaskedLM
    general: list[Example]
    replayed: list[Example]


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Every guard, once a seed."""
    part = _prepared(scale)
    settings = {
        "scale": [scale.source, weights_of(scale.source), scale.text, scale.held_out, scale.words, scale.length]
    }
    before = runs.once("before", settings, lambda _folder, _listener: {"loss": _general_loss(_taught(scale), part)})
    lines = []
    for guard in GUARDS:
        for seed in scale.seeds:
            told = [*settings["scale"], scale.data, scale.labels, scale.epochs, scale.validation, scale.tested]
            one = runs.once(
                f"{guard.name}-{seed}",
                {"scale": told, "guard": asdict(guard), "patience": PATIENCE, "seed": seed},
                partial(_line, part, guard, seed),
            )
            lines.append({"guard": guard.name, "seed": seed, **one})
    return {
        "model": f"{scale.source}, the project's own BERT of 7M parameters",
        "data": f"{scale.data}, {scale.labels:,} labels; {scale.text}, held-out documents",
        "seeds": len(scale.seeds),
        "test": len(part.data.test),
        "before": before["loss"],
        "lines": lines,
    }


def _prepared(scale: Scale) -> _Part:
    tokenizer = here(lambda: load_tokenizer(scale.source))
    data = here(lambda: load_dataset(scale.data, test_fraction=0.2))
    text = here(lambda: load_text(scale.text, validation_fraction=scale.held_out))  # as its recipe cut it off
    data.test[:] = data.test[: scale.tested]
    return _Part(
        scale,
        data,
        SequenceClassification(tokenizer, data.label_names or ()),
        MaskedLM(tokenizer, scale.length, whole_words=True),
        beginnings(text.validation, scale.words),
        beginnings(text.train, scale.words),
    )


def _taught(scale: Scale) -> Model:
    """The pretrained model, with the head that it was pretrained with."""
    model = here(lambda: load_model(scale.source, "masked-lm"))
    if model.untaught:
        raise NotHere(f"{scale.source} has no masked-lm head: what it forgets cannot be measured")
    return model


def _general_loss(model: Model, part: _Part) -> float:
    """Of the masked words of the general text; the same ones are masked each time, see `evaluate`."""
    return evaluate(model, part.general, task=part.masked)["loss"]


def _line(part: _Part, guard: Guard, seed: int, folder: Path, listener: Listener | None) -> dict[str, Any]:
    """One fine-tuning: what it learned, and the masked-LM loss with its backbone under the pretrained head."""
    scale, data = part.scale, part.data
    torch.manual_seed(seed)  # of the fresh head
    model = load_model(scale.source, part.task.name, labels=data.label_names)
    result = fit(
        model,
        sample(data.train, scale.labels, seed),
        sample(data.validation, min(scale.validation, len(data.validation)), seed) if guard.stops else None,
        task=part.task,
        settings=Settings(
            epochs=scale.epochs, learning_rate=guard.rate, seed=seed, patience=PATIENCE if guard.stops else None
        ),
        strategy=guard.strategy,
        folder=folder,
        listener=listener,
        resume=True,
        replay=Replay(_taught(scale), part.masked, part.replayed) if guard.replays else None,
    )
    steps = result.history.steps
    last = [step.loss for step in steps if step.epoch > steps[-1].epoch - 1]
    taught = _taught(scale)
    lend_backbone(model, taught)
    answers = predict(model, data.test, task=part.task).argmax(-1)
    right = marks(answers.tolist(), [example.label for example in data.test])
    return {
        "accuracy": right.count("1") / len(right),
        "right": right,
        "loss": _general_loss(taught, part),
        "training_loss": fmean(last),
        "epoch": result.best_epoch,
        "training_seconds": round(result.seconds, 2),
    }


def of(results: Results, guard: str, what: str) -> Measured:
    """What was measured of a guard, once per seed."""
    return Measured(tuple(line[what] for line in results["lines"] if line["guard"] == guard))


def rise(results: Results, guard: str) -> Measured:
    """Of the loss on general text, in nats."""
    return Measured(tuple(loss - results["before"] for loss in of(results, guard, "loss").values))


def _overwrites(results: Results) -> tuple[str, Verdict]:
    none, low = rise(results, NONE), rise(results, LOW_RATE)
    unchanged = Measured((0.0,) * len(none.values))
    width = margin(none, unchanged, comparisons=2)
    more = none.mean - low.mean > margin(none, low, comparisons=2)
    if none.mean > width:
        verdict = Verdict.HOLDS if more else Verdict.IN_PART
    else:
        verdict = Verdict.UNKNOWN if none.mean >= -width and width > COARSE else Verdict.FAILS
    told = (
        f"The loss on general text, {results['before']:.2f} nats, changes by {_signed(none.mean)} at the rate "
        f"{HIGH:g} and by {_signed(low.mean)} at {LOW:g} "
        f"(noise of the difference ±{margin(none, low, comparisons=2):.2f})."
    )
    return told, verdict


def _generalises_terribly(results: Results) -> tuple[str, Verdict]:
    none, low = of(results, NONE, "accuracy"), of(results, LOW_RATE, "accuracy")
    loss, width = _ahead(results, NONE, LOW_RATE)
    fitted = of(results, NONE, "training_loss").mean
    verdict = Verdict.FAILS
    if fitted > FITTED:
        verdict = Verdict.UNKNOWN
    elif loss < -width:
        verdict = Verdict.HOLDS if loss <= -TERRIBLE else Verdict.IN_PART
    elif loss - width <= -TERRIBLE:
        verdict = Verdict.UNKNOWN
    told = (
        f"{percent(none.mean)} at the rate {HIGH:g}, {percent(low.mean)} at {LOW:g}: {with_noise(loss, width)}; "
        f"training loss {fitted:.3f}."
    )
    return told, verdict


def _guards_help(results: Results) -> tuple[str, Verdict]:
    helps = {guard.name: _helps(results, guard.name) for guard in GUARDS if guard.name != NONE}
    told = "; ".join(
        f"{TITLES[name]} {'helps' if does else 'does not help'}: loss {_signed(rise(results, name).mean)}, "
        f"{points(of(results, name, 'accuracy').mean - of(results, NONE, 'accuracy').mean)}"
        for name, does in helps.items()
    )
    return f"Against {_signed(rise(results, NONE).mean)} without a guard: {told}.", all_or_some(helps.values())


def _signed(nats: float) -> str:
    """ "+0.25", "−0.10"."""
    return f"{nats:+.2f}".replace("-", "−")


def _helps(results: Results, guard: str) -> bool:
    """Whether it forgets less, and learns the task as well, each against the noise of as many comparisons."""
    comparisons = len(GUARDS) - 1
    none, one = rise(results, NONE), rise(results, guard)
    ahead, width = _ahead(results, NONE, guard, comparisons)
    spares = none.mean - one.mean > margin(none, one, comparisons=comparisons)
    return spares and ahead <= width


def _ahead(results: Results, guard: str, other: str, comparisons: int = 1) -> tuple[float, float]:
    """How far the first is ahead in accuracy, and the noise of that."""
    first, second = ([line["right"] for line in results["lines"] if line["guard"] == one] for one in (guard, other))
    return paired(first, second, comparisons)


def _tell(results: Results) -> str:
    told = "; ".join(
        f"{guard.title} {results['before'] + rise(results, guard.name).mean:.2f} nats and "
        f"{percent(of(results, guard.name, 'accuracy').mean)}"
        for guard in GUARDS
    )
    return (
        f"The masked-LM loss on held-out novels was {results['before']:.2f} nats before. After it, and test accuracy: "
        f"{told}. The fine-tuned backbone was read by its own pretrained head, at the same masked words before and "
        "after. All guards but the low rate were tested at the high one; but for early stopping the weights of "
        "the last step are measured. What is replayed is not what is held out."
    )


def _draw(results: Results, narrow: bool) -> "Figure":
    """A row for each guard, in two panels: what it forgets and what it learns."""
    figure, axes = new_figure(narrow, wide=(8.4, 3.6), small=(3.9, 5.6))
    axes.remove()
    panels = figure.subplots(2, 1) if narrow else figure.subplots(1, 2, sharey=True)
    for panel, what, unit in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for row, guard in enumerate(GUARDS):
            draw_rows(panel, [row], [of(results, guard.name, what).values], int(guard.name != NONE), unit=unit)
        panel.set_yticks(range(len(GUARDS)), [guard.title for guard in GUARDS])
        panel.set_ylim(len(GUARDS) - 0.5, -0.5)
        panel.margins(x=0.12)
    panels[0].axvline(results["before"], color=INK, linewidth=1)
    panels[0].set_xlabel("masked-LM loss on general text, nats (line: before)")
    panels[1].set_xlabel("test accuracy, %", color=MUTED)
    return figure


EXPERIMENT = Experiment(
    name="forgetting",
    title="What fine-tuning makes a model forget",
    section="Catastrophic Forgetting — The Hidden Danger",
    run=run,
    statements=(
        Statement(
            "With too large a learning rate, fine-tuning overwrites the pretrained language understanding.",
            "Holds when the masked-LM loss on general text rises, and more than at the low rate, each by more than the "
            "noise over seeds; in part when it rises, and not surely more than at the low rate. Cannot be judged when "
            f"the noise hides a change and exceeds {COARSE:g} nats.",
            _overwrites,
        ),
        Statement(
            "What has forgotten generalises terribly to new examples.",
            "Holds when accuracy at the high rate is ten points or more behind that at the low rate, and more than the "
            "noise; in part when behind by more than the noise. Cannot be judged when it is not surely behind, and ten "
            f"points lie within the noise; or when the training data is not learnt, to a loss of {FITTED:g} nats.",
            _generalises_terribly,
        ),
        Statement(
            "Asked beside the guide: a low rate, early stopping, gradual unfreezing, LoRA, L2-SP and replay guard "
            "against forgetting.",
            "A guard helps when the loss on general text rises less than without any, by more than the noise, and "
            "accuracy is not behind by more than the noise. Holds when all help, in part when some do.",
            _guards_help,
        ),
    ),
    tell=_tell,
    pictures=(
        Picture(
            "guards",
            "Masked-LM loss on general text after each way of fine-tuning, and test accuracy: means, and every seed.",
            _draw,
            _tell,
        ),
    ),
)
