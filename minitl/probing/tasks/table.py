"""Every task by its name, with what builds it and the data it is asked on.

`kind` follows the guide's table of layers: 1–3 form (spelling, morphology, parts of speech), 4–6 syntax (dependencies,
agreement, what stands with what), 7–9 semantics (types of entities), 10–12 task (what a whole text says).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minitl.errors import InputError, did_you_mean
from minitl.probing.task import Task, TreeTask
from minitl.probing.tasks.affixes import prefix, suffix
from minitl.probing.tasks.agreement import agreement
from minitl.probing.tasks.asking import About
from minitl.probing.tasks.entities import entities
from minitl.probing.tasks.order import bigram_shift
from minitl.probing.tasks.source import HELD_OUT, Source
from minitl.probing.tasks.surface import content, length
from minitl.probing.tasks.tagging import number, part_of_speech, tags, tense
from minitl.probing.tasks.trees import depth, relation, tree
from minitl.probing.tasks.whole_texts import classes, similarity

Build = Callable[[About, Source], Task | TreeTask]


@dataclass(frozen=True)
class Entry:
    """A task, what builds it, and its data set where none is named; None = it is for data of one's own."""

    about: About
    build: Build
    data: str | None


ENTRIES = (
    Entry(About("length", "sentence length", "form", "how many words a sentence has, in six classes"), length, "ud-en"),
    Entry(About("content", "word content", "form", "which of 30 words a sentence holds"), content, "ud-en"),
    Entry(About("prefix", "prefix", "form", "the first two letters of words not seen in training"), prefix, "ud-en"),
    Entry(About("suffix", "suffix", "form", "the last two letters of words not seen in training"), suffix, "ud-en"),
    Entry(About("pos", "part of speech", "form", "the universal part of speech of a word"), part_of_speech, "ud-en"),
    Entry(About("number", "number", "form", "singular or plural, of words that have number"), number, "ud-en"),
    Entry(About("tense", "tense", "form", "past or present, of words that have tense"), tense, "ud-en"),
    Entry(About("relation", "dependency relation", "syntax", "how a word hangs on its head"), relation, "ud-en"),
    Entry(About("depth", "tree depth", "syntax", "how deep in the dependency tree a word hangs"), depth, "ud-en"),
    Entry(About("tree", "dependency tree", "syntax", "distances and depths in the dependency tree"), tree, "ud-en"),
    Entry(
        About(
            "agreement", "subject-verb number", "syntax", "the number of the subject, where a verb stands that hides it"
        ),
        agreement,
        "ud-en",
    ),
    Entry(
        About("bigram-shift", "bigram shift", "syntax", "whether two neighbouring words were swapped"),
        bigram_shift,
        "ud-en",
    ),
    Entry(About("entities", "named entities", "semantics", "the type of a named entity"), entities, "wnut17"),
    Entry(About("entities-gum", "entities (GUM)", "semantics", "the type of anything mentioned"), entities, "gum"),
    Entry(
        About("entities-ncbi", "diseases (NCBI)", "semantics", "whether a span names a disease"),
        entities,
        "ncbi_disease",
    ),
    Entry(About("sentiment", "sentiment", "task", "whether a review is positive"), classes, "sst2"),
    Entry(About("similarity", "similarity", "task", "how alike two sentences are, from 0 to 5"), similarity, "stsb-en"),
    Entry(About("tags", "tags", "task", "the tag of a word, in data of one's own"), tags, None),
    Entry(About("classes", "classes", "task", "the class of a text or a pair, in data of one's own"), classes, None),
)
TASKS = {entry.about.name: entry for entry in ENTRIES}


def probing_tasks(
    names: Sequence[str], data: str | Path | None = None, *, sentences: int = 2000, seed: int = 0
) -> list[Task | TreeTask]:
    """The tasks of these names (`TASKS`), in their order.

    names       tasks on the same data share one `Corpus` object where they can, so that features are computed once;
                content, agreement and bigram-shift need one of their own, and entities the sentences that have some
    data        for all of them, known by name or in a file, or a folder of train, validation and test: CoNLL-U for
                tasks about syntax, number and tense; CoNLL for tags and entities; CSV, TSV or JSONL for classes and
                similarity; any of these, or running text, for length, content, prefix, suffix and bigram-shift.
                None = the task's own
    sentences   drawn for training (texts or pairs, in tasks about those), and a quarter as many for validation and for
                test; what has no such splits is cut 4 : 1 : 1, and for agreement everything is. Sentences have 3 to 60
                words, and none is in two splits
    seed        decides draws and cuts

    InputError: a task unknown (with the nearest that is known) or named twice, none at all, too few `sentences`, no
    data named where a task has none of its own. DataError: the data is absent or damaged, or too small for a task (one
    class; a split without example).
    """
    if not names:
        raise InputError(f"no task is named: there are {', '.join(TASKS)}")
    if sentences < HELD_OUT:
        raise InputError(f"sentences must be at least {HELD_OUT}, not {sentences}")
    sources: dict[str, Source] = {}
    made: dict[str, Task | TreeTask] = {}
    for name in names:
        if name not in TASKS:
            raise InputError(f"unknown task {name!r}{did_you_mean(name, TASKS)}; there are {', '.join(TASKS)}")
        if name in made:
            raise InputError(f"the task {name!r} is named twice")
        entry = TASKS[name]
        place = data if data is not None else entry.data
        if place is None:
            raise InputError(f"the task {name!r} is for data of your own, and none is named")
        source = sources.setdefault(str(place), Source(place, sentences, seed))
        made[name] = entry.build(entry.about, source)
    return list(made.values())
