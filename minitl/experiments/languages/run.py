"""What a model knows of a language that its labels were not in.

models ─┬─ fine-tune on English tags × seeds ─► tag English, languages of the pretraining, languages of none
        ├─ words of a language ─────► nearest English ones
        └─ sentences of a language ─► nearest English ones
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minitl.checkpoints.hub import resolve
from minitl.data import load_dataset, load_tagged
from minitl.errors import CheckpointError, InputError
from minitl.experiments.checkpoints import weights_of
from minitl.experiments.experiment import Results, here
from minitl.experiments.languages.neighbours import found, text_vectors
from minitl.experiments.languages.words import word_pairs
from minitl.experiments.runs import Runs
from minitl.experiments.statistics import commonest
from minitl.experiments.teaching import teach
from minitl.models.loading import load_model
from minitl.tokenization import load_tokenizer
from minitl.training import Listener, evaluate

MULTILINGUAL, TWIN = "multilingual", "monolingual"
ENGLISH = "en"


@dataclass(frozen=True)
class Scale:
    """How much is run. The full run counts about 9 TFLOP a fine-tuning and 3 of tagging its tests, 72 in all: some 8
    minutes on two cores at 150 GFLOP/s, and one more for words and sentences. A model of XLM-R's size that is at hand
    adds 18 times that a seed.

    multilingual, monolingual   the two that are compared: of one shape, but for the vocabulary, and one recipe
    others       larger ones, by name, that are run with the first seed alone where they are at hand
    tagging      the name of the tagged sentences, {} for the language
    sentences    the name of sentences that mean the same, line by line
    seen, unseen languages that the multilingual model read, and did not
    labels       so many English sentences are learnt from
    tested       so many of a language are tagged, and looked for: the first ones
    layer        whose vectors are compared; None = the middle one
    """

    multilingual: str = "novels-multilingual"
    monolingual: str = "novels-bert"
    others: tuple[tuple[str, str], ...] = (("XLM-R", "xlm-roberta-base"), ("mBERT", "bert-base-multilingual-cased"))
    tagging: str = "udpos-{}"
    sentences: str = "stsb-{}"
    seen: tuple[str, ...] = ("de", "es", "fr")
    unseen: tuple[str, ...] = ("hi", "ar", "tr", "ru", "zh")
    labels: int = 4000
    epochs: int = 3
    learning_rate: float = 3e-4
    tested: int = 500
    seeds: tuple[int, ...] = (0, 1, 2)
    layer: int | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        return (ENGLISH, *self.seen, *self.unseen)


def run(runs: Runs, scale: Scale = Scale()) -> Results:
    """The two models, and the others that are at hand."""
    for source in (scale.multilingual, scale.monolingual):
        weights_of(source)
    sources = {MULTILINGUAL: scale.multilingual, TWIN: scale.monolingual}
    absent = {}
    for name, source in scale.others:
        try:
            resolve(source)
        except (CheckpointError, InputError) as error:
            absent[name] = str(error)
        else:
            sources[name] = source
    lines, near = [], {}
    for name, source in sources.items():
        seeds = scale.seeds if name in (MULTILINGUAL, TWIN) else scale.seeds[:1]
        lines += [{"model": name, "seed": seed, **_tagged(runs, scale, source, name, seed)} for seed in seeds]
        pairs = {language: word_pairs(language) for language in scale.seen}
        asked = {
            "source": source,
            "weights": weights_of(source),
            "data": scale.sentences,
            "layer": scale.layer,
            "tested": scale.tested,
            "words": pairs,
        }
        near[name] = runs.once(f"near-{name}", asked, partial(_near, source, scale))
    floor = runs.once("floor", {"data": scale.tagging, **_sizes(scale)}, partial(_floor, scale))
    return {
        "model": " and ".join(Path(source).name for source in sources.values()),
        "data": f"{scale.tagging.format('xx')} in {len(scale.languages)} languages; {scale.sentences.format('xx')}",
        "seeds": len(scale.seeds),
        "seen": list(scale.seen),
        "unseen": list(scale.unseen),
        "tagging": {"floor": floor["shares"], "lines": lines},
        "near": near,
        "absent": absent,
    }


def _sizes(scale: Scale) -> dict[str, Any]:
    return {"tested": scale.tested, "languages": scale.languages}


def _tagged(runs: Runs, scale: Scale, source: str, name: str, seed: int) -> dict[str, Any]:
    """The accuracy of words by language, of a model that learnt English tags."""
    values = {
        "task": "token-classification",
        "model": {"source": source},
        "data": {"source": scale.tagging.format(ENGLISH)},
        "training": {
            "epochs": scale.epochs,
            "learning_rate": scale.learning_rate,
            "seed": seed,
            "autocast": "auto",
        },
    }
    settings = {**values, "weights": weights_of(source), "labels": scale.labels, **_sizes(scale)}
    return runs.once(f"tags-{name}-{seed}", settings, partial(_learn_tags, values, scale))


def _learn_tags(values: Mapping[str, Any], scale: Scale, folder: Path, listener: Listener | None) -> dict[str, Any]:
    taught = teach(values, folder, listener, scale.labels)
    model, task = taught.begun.model, taught.begun.task
    accuracy = {
        language: evaluate(model, _test(scale, language), task=task)["accuracy"] for language in scale.languages
    }
    return {"accuracy": accuracy, **taught.facts()}


def _test(scale: Scale, language: str) -> list[Any]:
    return here(lambda: load_tagged(scale.tagging.format(language))).test[: scale.tested]


def _floor(scale: Scale, _folder: Path, _listener: Listener | None) -> dict[str, Any]:
    """By language how many words are tested, and the share of the commonest tag: what saying it always comes to."""
    shares = {}
    for language in scale.languages:
        tags = [tag for sentence in _test(scale, language) for tag in sentence.tags]
        shares[language] = {"words": len(tags), "share": commonest(tags)}
    return {"shares": shares}


def _near(source: str, scale: Scale, _folder: Path, _listener: Listener | None) -> dict[str, Any]:
    """By language: words that find their English ones, and sentences theirs."""
    model, tokenizer = load_model(source, "backbone"), load_tokenizer(source)
    layer = len(model.layers) // 2 if scale.layer is None else scale.layer

    def compared(texts: Sequence[str], english: Sequence[str]) -> dict[str, Any]:
        theirs, ours = (text_vectors(model, tokenizer, some, layer) for some in (texts, english))
        return found(theirs, ours)

    words, sentences = {}, {}
    english = _sentences(scale, ENGLISH)
    kept = _first_ones(english)
    for language in scale.seen:
        pairs = word_pairs(language)
        words[language] = compared([theirs for _, theirs in pairs], [ours for ours, _ in pairs])
        theirs = _sentences(scale, language)
        sentences[language] = compared([theirs[i] for i in kept], [english[i] for i in kept])
    return {"layer": layer, "words": words, "sentences": sentences}


def _sentences(scale: Scale, language: str) -> list[str]:
    data = here(lambda: load_dataset(scale.sentences.format(language)))
    return [example.text for example in data.test][: scale.tested]


def _first_ones(texts: Sequence[str]) -> list[int]:
    """Where each text stands first: what is there twice has two translations that are right."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, place)
    return list(places.values())
