"""`minitl.probe`: what each layer of a model knows, with everything that keeps the answer honest.

tasks ─ their corpora ─┬─ the model ─────────────┐
                       ├─ its random twin ───────┼─ vectors of every layer ─ probes of all layers at once ─► report
                       └─ the model before ──────┘                          ├─ mixes of layers
                                                                            └─ code lengths
"""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from minitl.errors import InputError, did_you_mean
from minitl.models.base import Model
from minitl.models.elmo import Elmo
from minitl.models.word_vectors import WordVectors
from minitl.probing.controls import random_twin
from minitl.probing.description_length import CodeLength, online_code
from minitl.probing.material import gather
from minitl.probing.metrics import Estimate, difference, estimates
from minitl.probing.mixing import Mixed
from minitl.probing.probes import MLP, Linear, Probe, Span
from minitl.probing.reading import Reader, Side, TransformerReader, WordReader
from minitl.probing.representations import (
    OfTexts,
    OfWords,
    Representations,
    Unreadable,
    check_readable,
    chosen_layers,
    represent,
)
from minitl.probing.similarity import linear_cka
from minitl.probing.sweep import Curve, sweep
from minitl.probing.task import Corpus, Task, TreeTask
from minitl.probing.tasks.table import probing_tasks
from minitl.probing.tree_sweep import TreeCurve, sweep_trees
from minitl.tokenization import Tokenizer

TWIN = "its random twin"
PROBES: dict[str, Callable[[], Probe]] = {"linear": Linear, "mlp": MLP, "span": Span}
DEFAULT_TASKS = (
    "length", "content", "suffix", "pos", "number", "tense", "relation", "depth", "tree", "agreement", "bigram-shift",
    "entities", "sentiment", "similarity",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What came of one task.

    curve    of the model, layer by layer
    twin     of a model of the same shape that learnt nothing
    before   of the model before it was fine-tuned
    gain     how far a layer is ahead of the same one before, in the metric that curves show, under the same draws of
             the same test texts
    mixed    of mixes of layers: `mixed.mixture` has the centre of gravity
    code     the length of the labels' code

    Each is None where it was not asked for, or the task has none of it.
    """

    curve: Curve | TreeCurve
    twin: Curve | TreeCurve | None
    before: Curve | TreeCurve | None
    gain: tuple[Estimate, ...] | None
    mixed: Curve | None
    code: CodeLength | None

    @property
    def task(self) -> Task | TreeTask:
        return self.curve.task


@dataclass(frozen=True)
class Report:
    """What `probe` returns; `minitl.probing.page` writes it as a page, as JSON and as pictures.

    source, family   of the model
    depth, hidden    its layers, embeddings not counted, and the size of a vector
    probe, seeds     what was trained
    found            task by task
    alike            linear CKA of each layer with the same layer of the model before, over the words of all tasks'
                     corpora; None without one
    before           where that one came from
    seconds          for everything
    """

    source: str
    family: str
    depth: int
    hidden: int
    probe: str
    seeds: tuple[int, ...]
    found: tuple[Found, ...]
    alike: tuple[float, ...] | None
    before: str | None
    seconds: float


@dataclass(frozen=True)
class Settings:
    """How vectors are read and probes are trained.

    probe          "linear", "mlp" (one hidden layer), "span" (attention over the words of a place: edge probing)
    seeds          how many probes of each layer; each begins elsewhere and meets the examples in another order
    layers         which of the model's layers, 0 = embeddings, 1 = what `minitl.trace` calls layers.0; None = all
    side           of an encoder-decoder, whose states: "encoder" (None) or "decoder"
    words, texts   how the vector of a word comes from its tokens, and that of a text from its words
    unreadable     what becomes of a text that is too long, or of whose words one has no token: "error" or "skip"
    twin           whether a random twin is probed beside the model
    mix            whether mixes of layers are trained, for the centre of gravity
    code           whether code lengths are measured
    cache          a folder for the vectors; None = memory. One that holds another model's is refused
    """

    probe: str = "linear"
    seeds: int = 3
    layers: tuple[int, ...] | None = None
    side: Side | None = None
    words: OfWords = "mean"
    texts: OfTexts = "mean"
    unreadable: Unreadable = "error"
    twin: bool = True
    mix: bool = True
    code: bool = True
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        if self.probe not in PROBES:
            known = f"{did_you_mean(self.probe, PROBES)}; there are {', '.join(PROBES)}"
            raise InputError(f"no probe is called {self.probe!r}{known}")
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1, got {self.seeds}")


USUAL = Settings()
Probed = Model | Elmo | WordVectors


def probe(
    model: Probed,
    tokenizer: Tokenizer | None,
    dataset: str | Path | None = None,
    tasks: Sequence[str] | Sequence[Task | TreeTask] = DEFAULT_TASKS,
    *,
    sentences: int = 2000,
    before: Probed | None = None,
    settings: Settings = USUAL,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Ask probes what each layer of `model` knows.

    tokenizer   of the model; None of one that reads words, ELMo or word vectors, which have no random twin either
    dataset     for all tasks; None = each task's own: a name, a CoNLL-U, CoNLL or other file (`minitl.probing.tasks`)
    tasks       names of `minitl.probing.tasks.TASKS`, or tasks of one's own
    sentences   of the training part; validation and test have a quarter of it each
    before      the model before it was fine-tuned, which reads the same tokens: which layers changed, what they lost
    progress    is told what is done next

    The model is in eval mode and learns nothing. InputError: no task, no tokenizer, a model before of another family or
    depth. Else errors as in `probing_tasks`, `represent` and `sweep`.
    """
    begun = time.perf_counter()
    readers = _readers(model, before, tokenizer, settings)
    for reader in readers.values():
        chosen_layers(settings.layers, reader.layers)
    chosen = _tasks(tasks, dataset, sentences)
    corpora = dict.fromkeys(task.corpus for task in chosen)
    for corpus in corpora:  # all before any probe is trained, whose work would be lost
        for whose, reader in readers.items():
            if whose != TWIN:  # which reads as the model does
                check_readable(reader, corpus, settings.unreadable)
    found: dict[int, Found] = {}
    alike: list[tuple[int, Tensor]] = []
    for corpus in corpora:
        read = []
        for whose, reader in readers.items():
            progress(f"{whose} reads {corpus.name}: {len(corpus.texts):,} texts")
            read.append(_represent(reader, corpus, settings, whose))
        read = _of_the_same_texts(read)
        if before is not None:
            alike.append((int(corpus.starts[-1]), linear_cka(read[0], read[-1])))
        for place, task in enumerate(chosen):
            if task.corpus is corpus:
                progress(f"probes for {task.title}")
                twin = read[1] if settings.twin and isinstance(model, Model) else None
                found[place] = _found(task, read[0], twin, read[-1] if before is not None else None, settings)
    return Report(
        source=_source(model),
        family=_family(model),
        depth=readers["the model"].layers - 1,
        hidden=read[0].hidden,
        probe=settings.probe,
        seeds=tuple(range(settings.seeds)),
        found=tuple(found[place] for place in range(len(chosen))),
        alike=_mean(alike),
        before=None if before is None else _source(before),
        seconds=time.perf_counter() - begun,
    )


def _tasks(
    tasks: Sequence[str] | Sequence[Task | TreeTask], dataset: str | Path | None, sentences: int
) -> list[Task | TreeTask]:
    """Those of one's own, and those that are named. InputError where there are none."""
    chosen = [task for task in tasks if not isinstance(task, str)]
    names = [name for name in tasks if isinstance(name, str)]
    chosen += probing_tasks(names, dataset, sentences=sentences) if names else []
    if not chosen:
        raise InputError("there is no task to probe for")
    return chosen


def _readers(
    model: Probed, before: Probed | None, tokenizer: Tokenizer | None, settings: Settings
) -> dict[str, Reader]:
    """Whatever is probed, by what the report calls it: the model first, the one before it last."""
    readers = {"the model": _reader(model, tokenizer, settings)}
    if settings.twin and isinstance(model, Model):
        readers[TWIN] = _reader(random_twin(model), tokenizer, settings)
    if before is not None:
        was = readers["the model before"] = _reader(before, tokenizer, settings)
        shapes = [(_family(one), reader.layers - 1) for one, reader in ((model, readers["the model"]), (before, was))]
        if shapes[0] != shapes[1]:
            (family, depth), (other, others) = shapes
            raise InputError(f"the model is {family} of {depth} layers, and the one before it {other} of {others}")
    return readers


def _family(model: Probed) -> str:
    return model.config.model_type if isinstance(model, Model) else type(model).__name__


def _reader(model: Probed, tokenizer: Tokenizer | None, settings: Settings) -> Reader:
    if not isinstance(model, Model):
        return WordReader(model)
    if tokenizer is None:
        raise InputError(f"a {model.config.model_type} model reads tokens: give its tokenizer")
    return TransformerReader(model, tokenizer, settings.side)


def _represent(reader: Reader, corpus: Corpus, settings: Settings, whose: str) -> Representations:
    folder = None
    if settings.cache is not None:
        texts = hashlib.sha256(repr(corpus.texts).encode()).hexdigest()[:8]  # of one data set there may be several
        folder = Path(settings.cache) / re.sub(r"[^\w.-]+", "-", f"{corpus.name}-{texts}-{whose}")
    return represent(
        reader, corpus, folder, layers=None if settings.layers is None else sorted(settings.layers),
        words=settings.words, texts=settings.texts, unreadable=settings.unreadable,
    )  # fmt: skip


def _found(
    task: Task | TreeTask,
    read: Representations,
    twin: Representations | None,
    before: Representations | None,
    settings: Settings,
) -> Found:
    curve, mixed, code = _asked(task, read, settings)
    was = None if before is None else _curve(task, before, settings)
    return Found(
        curve=curve,
        twin=None if twin is None else _curve(task, twin, settings),
        before=was,
        gain=None if was is None else estimates(difference(curve.measured, was.measured), settings.seeds),
        mixed=mixed,
        code=code,
    )


def _asked(
    task: Task | TreeTask, read: Representations, settings: Settings
) -> tuple[Curve | TreeCurve, Curve | None, CodeLength | None]:
    """Everything that is asked of the model itself."""
    seeds = range(settings.seeds)
    if isinstance(task, TreeTask):
        return _curve(task, read, settings), None, None
    kind = PROBES[settings.probe]
    material = gather(read, task, kind().reads)
    coded = settings.code and task.labels is not None
    return (
        sweep(material, kind(), seeds=seeds),
        sweep(material, Mixed(kind()), seeds=seeds, control=False) if settings.mix else None,
        online_code(material, kind(), seeds=seeds, control=False) if coded else None,
    )


def _curve(task: Task | TreeTask, read: Representations, settings: Settings) -> Curve | TreeCurve:
    """What the probes of every layer came to, without control task."""
    seeds = range(settings.seeds)
    if isinstance(task, TreeTask):
        return sweep_trees(read, task, seeds=seeds)
    kind = PROBES[settings.probe]
    return sweep(gather(read, task, kind().reads), kind(), seeds=seeds, control=False)


def _of_the_same_texts(read: Sequence[Representations]) -> list[Representations]:
    """What one of the models cannot read is left out for all, so that they are held against each other on one test."""
    unread = {one.text: one for representations in read for one in representations.unread}
    same = tuple(unread[text] for text in sorted(unread))
    return [replace(representations, unread=same) for representations in read]


def _mean(alike: Sequence[tuple[int, Tensor]]) -> tuple[float, ...] | None:
    """Over corpora, each counting as much as it has words."""
    if not alike:
        return None
    counts = torch.tensor([count for count, _ in alike], dtype=torch.float64)
    layers = torch.stack([one for _, one in alike], dim=-1)  # [layers, corpora]
    return tuple((layers @ (counts / counts.sum())).tolist())


def _source(model: Probed) -> str:
    return str(getattr(model, "source", None) or "")
