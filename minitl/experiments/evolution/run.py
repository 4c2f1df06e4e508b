"""Teach the four models, ask their probes, fine-tune them, and look at the vectors of one word.

vocabulary ─ pretrain × 4 ─┬─ probes: part of speech, relation, entities; and of random twins
                           ├─ fine-tune: sentiment, part of speech × rates, seeds; and BERT's shape from scratch
                           └─ "bank": its vectors by sense; and those of random twins
                              and the same of a model that read far more than any of the four
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from minitl.checkpoints.hub import MINILM
from minitl.data import load_dataset, load_tagged
from minitl.experiments.evolution.pretraining import STEPS, Budget, learn_vocabulary, pretrain, pretraining
from minitl.experiments.evolution.senses import components, occurrences, sense_numbers, told_apart
from minitl.experiments.evolution.sentences import SENSES, WORD
from minitl.experiments.experiment import Results, here
from minitl.experiments.runs import Runs
from minitl.experiments.teaching import teach
from minitl.models.loading import load_model
from minitl.probing.controls import random_twin
from minitl.probing.metrics import Estimate
from minitl.probing.probe import Found, probe
from minitl.probing.probe import Settings as ProbeSettings
from minitl.probing.profile import floor, shown_metric, shown_scores
from minitl.probing.sweep import Curve
from minitl.probing.tasks.table import probing_tasks
from minitl.probing.tree_sweep import TreeCurve
from minitl.tokenization import load_tokenizer
from minitl.training import Listener

SCRATCH, SHAPE = "scratch", "bert"  # random weights, and whose shape they have
TASKS = {"reviews": "classification", "tagged": "token-classification"}


@dataclass(frozen=True)
class Scale:
    """How much is run. The full run counts about 220 TFLOP of pretraining (118 MFLOP a token in all four), 250 of
    fine-tuning and 15 of reading for probes: 54 minutes on two cores at 150 GFLOP/s. An LSTM, a step at a time, is
    rather at half that speed: some twenty minutes more; and the probes' own training takes about ten.

    budget       of the pretraining
    probes       the tasks, on `probed` (None = their own data), each with so many `sentences`
    reviews      a set of texts with classes; tagged one of words with tags
    labels       so many training examples of each; chosen so many of validation, by which rate and epoch are
    far          a published model, by whose vectors of the word the guide's claim is judged
    rates        tried with the first seed, by validation; the other seeds learn at the best
    twins        random ones of each model, for the word's vectors
    """

    budget: Budget = field(default_factory=Budget)
    probes: tuple[str, ...] = ("pos", "relation", "entities-gum")
    probed: str | None = None
    sentences: int = 1000
    reviews: str = "sst2"
    tagged: str = "ud-en"
    far: str = MINILM
    labels: int = 2000
    chosen: int = 1000
    epochs: int = 4
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    seeds: tuple[int, ...] = (0, 1, 2)
    twins: int = 3


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """Everything that is not done yet."""
    told = asdict(scale.budget)
    vocabulary = runs.at("vocabulary") / "tokenizer"
    runs.once(
        "vocabulary",
        {"text": scale.budget.text, "size": scale.budget.vocabulary},
        lambda folder, _: learn_vocabulary(scale.budget, folder),
        makes="tokenizer",
    )
    taught, probed, bank = {}, {}, {}
    for step in STEPS:
        values = pretraining(step, scale.budget, vocabulary)
        kept = _told(values)
        first = f"pretrain-{step.name}"
        taught[step.name] = runs.once(first, kept, partial(pretrain, values), makes="model", after=["vocabulary"])
        model = runs.at(first) / "model"
        probed[step.name] = runs.once(
            f"probes-{step.name}",
            {
                "of": kept,
                "probes": scale.probes,
                "data": scale.probed,
                "sentences": scale.sentences,
                "seeds": len(scale.seeds),
            },
            partial(_probe, model, scale),
            after=[first],
        )
        bank[step.name] = runs.once(
            f"bank-{step.name}",
            {"of": kept, **_asked(scale)},
            partial(_bank, model, scale),
            after=[first],
        )
    far = runs.once("bank-far", {"of": scale.far, **_asked(scale)}, partial(_bank, scale.far, scale))
    return {
        "model": f"skip-gram, biLM, BERT and GPT-2, taught {scale.budget.tokens:,} tokens here; {Path(scale.far).name}",
        "data": f"{scale.budget.text}; ud-en and gum by probes; {scale.reviews} and {scale.tagged} by fine-tuning",
        "seeds": len(scale.seeds),
        "budget": {**told, "tokens": scale.budget.tokens},
        "taught": taught,
        "probed": {name: found["tasks"] for name, found in probed.items()},
        "tuned": {name: _tuned(runs, scale, name, vocabulary) for name in TASKS},
        "bank": bank,
        "far": {"model_name": Path(scale.far).name, **far},
    }


def _asked(scale: Scale) -> dict[str, Any]:
    return {"twins": scale.twins, "word": WORD, "senses": SENSES}


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """A pretraining as settings: where its vocabulary lies decides nothing."""
    return {**values, "model": {name: value for name, value in values["model"].items() if name != "tokenizer"}}


def _probe(source: Path, scale: Scale, _folder: Path, _listener: Listener | None) -> dict[str, Any]:
    tasks = here(lambda: probing_tasks(scale.probes, scale.probed, sentences=scale.sentences))
    settings = ProbeSettings(seeds=len(scale.seeds), mix=False, code=False, unreadable="skip")
    report = probe(load_model(source, "backbone"), load_tokenizer(source), tasks=tasks, settings=settings)
    return {"tasks": {found.task.name: _found(found) for found in report.found}}


def _found(found: Found) -> dict[str, Any]:
    return {
        "title": found.task.title,
        "metric": shown_metric(found.curve),
        "model": _layers(found.curve),
        "twin": _layers(found.twin) if found.twin is not None else None,
        "floor": floor(found.curve),
        "examples": dict(found.curve.examples),
    }


def _layers(curve: Curve | TreeCurve) -> dict[str, Any]:
    return {"best": curve.layers.index(curve.best), "scores": [_plain(one) for one in shown_scores(curve)]}


def _plain(one: Estimate) -> dict[str, float]:
    return {"mean": one.mean, "low": one.low, "high": one.high}


def _bank(source: Path | str, scale: Scale, _folder: Path, _listener: Listener | None) -> dict[str, Any]:
    model, tokenizer = here(lambda: (load_model(source, "backbone"), load_tokenizer(source)))
    senses = sense_numbers(SENSES)
    vectors = occurrences(model, tokenizer, SENSES, WORD)
    twins = [occurrences(random_twin(model, seed), tokenizer, SENSES, WORD) for seed in range(scale.twins)]
    return {
        "model": told_apart(vectors, senses),
        "twins": [told_apart(one, senses) for one in twins],
        "places": components(vectors),
        "senses": senses.tolist(),
        "distance": float((vectors - vectors[0]).norm(dim=-1).max()),
    }


def _tuned(runs: Runs, scale: Scale, name: str, vocabulary: Path) -> dict[str, Any]:
    """Of one task every training: of each step and of the shape from scratch, by rate and seed."""
    lines = []
    for arm in (*(step.name for step in STEPS), SCRATCH):
        first = [_line(runs, scale, name, vocabulary, (arm, rate, scale.seeds[0])) for rate in scale.rates]
        best = max(first, key=lambda line: line["validation"])["rate"]
        lines += first
        lines += [_line(runs, scale, name, vocabulary, (arm, best, seed)) for seed in scale.seeds[1:]]
    return {"size": _judged(scale, name), "lines": lines}


def _line(runs: Runs, scale: Scale, name: str, vocabulary: Path, which: tuple[str, float, int]) -> dict[str, Any]:
    arm, rate, seed = which
    shape = next(step for step in STEPS if step.name == (SHAPE if arm == SCRATCH else arm))
    pretrained = pretraining(shape, scale.budget, vocabulary)
    values = {
        "task": TASKS[name],
        "model": pretrained["model"] if arm == SCRATCH else {"source": str(runs.at(f"pretrain-{arm}") / "model")},
        "data": {"source": getattr(scale, name)},
        "training": {
            "epochs": scale.epochs,
            "learning_rate": rate,
            "seed": seed,
            "autocast": "auto",
        },
    }
    settings = {**values, "model": arm, "of": _told(pretrained), "labels": [scale.labels, scale.chosen]}
    line = runs.once(
        f"{name}-{arm}-{rate:g}-{seed}",
        settings,
        partial(_tune, values, scale.labels, scale.chosen),
        after=["vocabulary" if arm == SCRATCH else f"pretrain-{arm}"],
    )
    return {"arm": arm, "rate": rate, "seed": seed, **line}


def _tune(
    values: Mapping[str, Any], labels: int, chosen: int, folder: Path, listener: Listener | None
) -> dict[str, Any]:
    taught = teach(values, folder, listener, labels, chosen)
    facts = taught.facts()
    return {
        "validation": facts["validation"]["accuracy"],
        "test": taught.score(taught.begun.data.test)["accuracy"],
        "training_seconds": facts["training_seconds"],
        "best_epoch": facts["best_epoch"],
    }


def _judged(scale: Scale, name: str) -> int:
    """How many test examples an accuracy is a share of: texts, or words."""
    if name == "reviews":
        return len(here(lambda: load_dataset(scale.reviews)).test)
    return sum(len(sentence.words) for sentence in here(lambda: load_tagged(scale.tagged)).test)
