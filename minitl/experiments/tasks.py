"""The guide's table of tasks, row by row: a recipe for each, carried out on real data.

recipes/NAME.toml ─► a model ─ test texts ─► before ─ fit ─ test texts ─► after
                                  the model that follows instructions ─ asked about films ─► right as often as a guess?
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.adapters import count_parameters
from minitl.data import load_dataset
from minitl.experiments.experiment import Experiment, Picture, Results, Statement, here
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import Measured, commonest, noise, normal_quantile
from minitl.experiments.teaching import recipe_named, recipe_of, teach
from minitl.models.loading import load_model
from minitl.pages.claims import Verdict
from minitl.pages.drawing import COLOURS, INK, MARKERS, PAPER, new_figure
from minitl.pages.formats import percent, with_noise
from minitl.prompting import PromptClassifier
from minitl.tokenization import load_tokenizer
from minitl.training import Listener, evaluate
from minitl.training.beginning import Beginning, begin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACY, CORRELATION = "accuracy", "spearman"
ASKED, INSTRUCTED = "asked", "instructions"
MODEL = "model"


@dataclass(frozen=True)
class Row:
    """A row of the guide's table.

    says         task, architecture and head, in the guide's words
    recipe       of recipes/, without its ending
    metric       that is told, of those that the task has, and its name in print
    largest      of its values: 1, or 100 of metrics that are published so; 0 = it has none (perplexity)
    pretrained   whether the recipe begins with a pretrained model; of what begins with random weights quality is not
                 judged
    changes      of the recipe's training, which is cut short
    """

    name: str
    says: str
    recipe: str
    metric: str
    printed: str
    largest: float = 1.0
    pretrained: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


ROWS = (
    Row(
        "classification",
        "Text classification: encoder-only, linear on the [CLS] token.",
        "film_reviews",
        ACCURACY,
        "accuracy",
    ),
    Row("entities", "Named entities: encoder-only, linear per token, BIO tags.", "wnut17", "f1", "F1"),
    Row(
        "questions",
        "Extractive question answering: encoder-only, classification of start and end.",
        "tydiqa",
        "f1",
        "F1",
    ),
    Row(
        "summaries",
        "Summarisation: encoder-decoder, fine-tuned to write.",
        "samsum",
        "rouge1",
        "ROUGE-1",
        pretrained=False,
    ),
    Row(
        "translation",
        "Machine translation: encoder-decoder, fine-tuned to write.",
        "multi30k_de_en",
        "bleu",
        "BLEU",
        largest=100.0,
        pretrained=False,
        changes={"epochs": 3},
    ),
    Row(
        INSTRUCTED,
        "Text generation and instruction-following: decoder-only, SFT.",
        "t0_mix",
        "perplexity",
        "perplexity",
        largest=0.0,
        pretrained=False,
        changes={"steps": 200, "evaluate_every": 200},
    ),
    Row(
        "similarity",
        "Sentence embeddings: encoder-only, siamese network.",
        "stsb_embeddings",
        CORRELATION,
        "Spearman’s ρ",
    ),
)


@dataclass(frozen=True)
class Scale:
    """How much is run.

    changes   by the row's name what its recipe says otherwise: tables with keys, as TOML has them
    asked     the classified set about which the model that follows instructions is asked
    tested    so many of its test texts, the first ones; None = all
    """

    rows: tuple[Row, ...] = ROWS
    changes: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    asked: str = "sst2"
    tested: int | None = None
    seed: int = 0


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Every row's recipe, and what the model that follows instructions makes of a task that it was not taught."""
    lines = {}
    for row in scale.rows:
        values = _values(row, scale)
        kept = MODEL if row.name == INSTRUCTED else None
        lines[row.name] = runs.once(row.name, {"recipe": values}, partial(_line, row, values), makes=kept)
    instructed = next(row for row in scale.rows if row.name == INSTRUCTED)
    told = {"asked": scale.asked, "tested": scale.tested, "recipe": _values(instructed, scale)}
    asked = runs.once(
        ASKED, told, lambda _folder, _listener: _ask(runs.at(INSTRUCTED) / MODEL, scale), after=[INSTRUCTED]
    )
    models = dict.fromkeys(line["source"] for line in lines.values())
    return {
        "model": ", ".join(models),
        "data": ", ".join(f"{line['data']} ({line['size']:,} test texts)" for line in lines.values()),
        "seeds": 1,
        "rows": lines,
        "asked": asked,
    }


def _values(row: Row, scale: Scale) -> dict[str, Any]:
    values = recipe_named(row.recipe)
    values.pop("out")
    if "steps" in row.changes:
        values["training"].pop("epochs")
    values["training"] |= {**row.changes, "seed": scale.seed}
    for table, keys in scale.changes.get(row.name, {}).items():
        values[table] = {**values.get(table, {}), **keys}
    return values


def _line(row: Row, values: Mapping[str, Any], folder: Path, listener: Listener | None) -> dict[str, Any]:
    before = None
    if row.pretrained:
        begun = here(lambda: begin(recipe_of(values, folder), anew=False))
        before = evaluate(begun.model, _tested(begun), task=begun.task)[row.metric]
    taught = teach(values, folder, listener)
    tested = _tested(taught.begun)
    if row.name == INSTRUCTED:
        taught.save(folder / MODEL)
    return {
        "source": values["model"].get("source", "random weights"),
        "data": taught.begun.data.name,
        "size": len(tested),
        "commonest": commonest(example.label for example in tested) if row.metric == ACCURACY else None,
        "before": before,
        "after": taught.score(tested)[row.metric],
        **taught.facts(),
    }


def _tested(begun: Beginning) -> Sequence[Any]:
    """The test texts that have an answer; where there are none, those of validation."""
    return [example for example in begun.data.test if begun.task.is_labelled(example)] or begun.data.validation


def _ask(folder: Path, scale: Scale) -> dict[str, Any]:
    data = here(lambda: load_dataset(scale.asked, test_fraction=0.2))
    texts, names = data.test[: scale.tested], data.label_names or ()
    model = load_model(folder, "causal-lm")
    classifier = PromptClassifier(model, load_tokenizer(folder), names)
    said = classifier.predict([example.text for example in texts])
    labels = [names[example.label] for example in texts]
    return {
        "size": len(texts),
        "accuracy": sum(map(str.__eq__, said, labels)) / len(labels),
        "commonest": commonest(labels),
        "total": count_parameters(model).total,
    }


def _gain(row: Row, line: Mapping[str, Any]) -> tuple[float, float]:
    """How far the taught model is ahead of what there was, as a share, and the noise of that."""
    after, floor = line["after"], _floor(line)
    if row.metric == CORRELATION:
        return after - floor, math.hypot(*(_correlation_noise(one, line["size"]) for one in (after, floor)))
    return after - floor, noise(Measured((after,)), Measured((floor,)), line["size"])


def _floor(line: Mapping[str, Any]) -> float:
    """What there was without the training: the pretrained model, or the commonest answer where that is better."""
    return float(max(line["before"], line["commonest"] or 0.0))


def _correlation_noise(rho: float, size: int) -> float:
    """Half the 95% interval of Spearman's rho of `size` pairs (Fieller, Hartley & Pearson 1957)."""
    return normal_quantile() * (1 - rho**2) * math.sqrt(1.06 / (size - 3))


def _judge(row: Row) -> Callable[[Results], tuple[str, Verdict]]:
    def judge(results: Results) -> tuple[str, Verdict]:
        line = results["rows"][row.name]
        after, how = _printed(row, line["after"]), f"after {line['steps']:,} steps, {line['total'] / 1e6:.1f}M weights"
        if not row.pretrained:
            told = f"{row.printed} {after} {how}, from random weights: the recipe runs, its quality is not judged here."
            return told, Verdict.UNKNOWN
        gain, margin = _gain(row, line)
        before = f"{_printed(row, line['before'])} before"
        if line["commonest"] is not None:
            before += f", {percent(line['commonest'])} by the commonest answer"
        told = f"{row.printed} {after} {how}; {before}: {with_noise(gain, margin)}."
        return told, Verdict.HOLDS if gain > margin else Verdict.FAILS

    return judge


def _judge_asked(results: Results) -> tuple[str, Verdict]:
    asked = results["asked"]
    gain = asked["accuracy"] - asked["commonest"]
    margin = noise(Measured((asked["accuracy"],)), Measured((asked["commonest"],)), asked["size"])
    told = (
        f"Asked whether a sentence about a film is positive, a model of {asked['total'] / 1e6:.1f}M weights is right "
        f"on {percent(asked['accuracy'])}, the commonest answer on {percent(asked['commonest'])} "
        f"(noise ±{margin * 100:.1f}). The guide's models for it are a thousand times as large."
    )
    return told, Verdict.HOLDS if gain > margin else Verdict.UNKNOWN


def _printed(row: Row, value: float) -> str:
    return percent(value) if row.largest == 1.0 else f"{value:.1f}"


def _tell(results: Results) -> str:
    told = "; ".join(
        f"{row.printed} {_printed(row, results['rows'][row.name]['after'])} by recipes/{row.recipe}.toml on "
        f"{results['rows'][row.name]['data']}"
        for row in _shown(results)
    )
    cut = [f"recipes/{row.recipe}.toml" for row in _shown(results) if row.changes]
    return (
        f"{told}. No published encoder-decoder and no published decoder is at hand: what begins with random weights "
        f"shows that its recipe runs. {' and '.join(cut)} are cut short; one seed."
    )


def _shown(results: Results) -> Sequence[Row]:
    return [row for row in ROWS if row.name in results["rows"]]


def _draw(results: Results, narrow: bool) -> "Figure":
    """A line for each row that has a scale, from what there was to what was reached."""
    figure, axes = new_figure(narrow, wide=(8.4, 3.2), small=(3.9, 3.6))
    rows = [row for row in _shown(results) if row.largest]
    for place, row in enumerate(rows):
        line, look = results["rows"][row.name], 0 if row.pretrained else 1
        after = 100 * line["after"] / row.largest
        if row.pretrained:
            floor = 100 * _floor(line)
            axes.plot([floor, after], [place, place], color=COLOURS[look], linewidth=2)
            axes.plot(floor, place, "|", color=INK, markersize=12)
        axes.plot(after, place, MARKERS[look], color=COLOURS[look], markersize=9, markeredgecolor=PAPER)
    axes.set_yticks(range(len(rows)), [f"{row.name}, {row.printed}" for row in rows])
    axes.set_xlim(0, 100)
    axes.margins(y=0.15)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("of 100, on test texts")
    return figure


EXPERIMENT = Experiment(
    name="tasks",
    title="One recipe for each kind of task",
    section="Common NLP Tasks — Which Pretrained Model to Choose",
    run=run,
    statements=(
        *(
            Statement(
                row.says,
                "Holds when the taught model is ahead of what it was before, and of the commonest answer, by more than "
                "the noise of the test texts, of which F1 counts as a share."
                if row.pretrained
                else "Cannot be judged: no pretrained model of this architecture is at hand.",
                _judge(row),
            )
            for row in ROWS
        ),
        Statement(
            "Zero-shot classification: encoder-decoder or decoder, by prompts alone.",
            "Holds when a model that was taught instructions is ahead of the commonest answer on a task that it was "
            "not taught, by more than the noise; that a small one is not says nothing of large ones.",
            _judge_asked,
        ),
    ),
    tell=_tell,
    pictures=(
        Picture(
            "tasks",
            "What each recipe reaches on test texts. Bar: the pretrained model before its training, or the commonest "
            "answer where that is better; without a bar: from random weights.",
            _draw,
            _tell,
        ),
    ),
)
