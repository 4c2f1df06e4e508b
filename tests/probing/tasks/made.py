"""A treebank of a few sentences, and what tasks ask of it, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from minitl.data import ParsedSentence
from minitl.probing.task import Split, Task

# A word a line: form, upos, feats, head, deprel.
TRAIN = """
The     DET    _                       2  det
keys    NOUN   Number=Plur             3  nsubj
opened  VERB   Tense=Past              0  root
doors   NOUN   Number=Plur             3  obj
.       PUNCT  _                       3  punct

A       DET    _                       2  det
man     NOUN   Number=Sing             3  nsubj
Opened  VERB   Tense=Past              0  root
it      PRON   Number=Sing             3  obj
slowly  ADV    _                       3  advmod
.       PUNCT  _                       3  punct

She     PRON   Number=Sing             2  nsubj
opens   VERB   Tense=Pres              0  root
every   DET    _                       4  det
door    NOUN   Number=Sing             2  obj
.       PUNCT  _                       2  punct

Ann     PROPN  Number=Sing             4  nsubj
and     CCONJ  _                       3  cc
Bo      PROPN  Number=Sing             1  conj
opened  VERB   Tense=Past              0  root
boxes   NOUN   Number=Plur             4  obj
.       PUNCT  _                       4  punct

They    PRON   Number=Plur             3  nsubj:pass
were    AUX    Number=Plur|Tense=Past  3  aux:pass
opened  VERB   Tense=Past              0  root
.       PUNCT  _                       3  punct
"""
VALIDATION = """
Men     NOUN   Number=Plur             2  nsubj
opened  VERB   Tense=Past              0  root
cans    NOUN   Number=Plur             2  obj
.       PUNCT  _                       2  punct

Bo      PROPN  Number=Sing             2  nsubj
opened  VERB   Tense=Past              0  root
cans    NOUN   Number=Plur             2  obj
.       PUNCT  _                       2  punct
"""
TEST = """
Cats    NOUN   Number=Plur             2  nsubj
sat     VERB   Tense=Past              0  root
down    ADV    _                       2  advmod
here    ADV    _                       3  advmod
!       PUNCT  _                       2  punct

Tom     PROPN  Number=Sing             2  nsubj
sat     VERB   Tense=Past              0  root
up      ADV    _                       2  advmod:up
"""
TREEBANK: Mapping[str, str] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def write_treebank(folder: Path, splits: Mapping[str, str] = TREEBANK) -> Path:
    """As CoNLL-U files of a new folder."""
    folder.mkdir()
    for split, table in splits.items():
        sentences = []
        for block in table.strip().split("\n\n"):
            rows = [line.split() for line in block.split("\n")]
            sentences.append(
                "\n".join(
                    f"{n}\t{form}\t_\t{upos}\t_\t{feats}\t{head}\t{deprel}\t_\t_"
                    for n, (form, upos, feats, head, deprel) in enumerate(rows, start=1)
                )
            )
        (folder / f"{split}.conllu").write_text("\n\n".join(sentences) + "\n\n")
    return folder


def flat(words: str) -> str:
    """A sentence of such a table, in which all hang on the first word."""
    return "\n".join(f"{w} X _ {int(at > 0)} {'dep' if at else 'root'}" for at, w in enumerate(words.split()))


def write_flat(folder: Path, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Path:
    splits = {"train": train, "validation": validation, "test": test}
    return write_treebank(folder, {split: "\n\n".join(map(flat, texts)) for split, texts in splits.items()})


def clause(subject: str, number: str, verb: str) -> ParsedSentence:
    """A subject and its verb."""
    return ParsedSentence(
        (subject, verb), ("_", "_"), ("NOUN", "VERB"), ({"Number": number}, {}), (1, -1), ("nsubj", "root")
    )


def asked(task: Task, split: Split) -> list[tuple[str, ...]]:
    """The examples of a split, sorted: what stands at each place, and the label."""
    assert task.labels is not None
    items = task.corpus.texts if task.reads == "texts" else [(word,) for text in task.corpus.texts for word in text]
    examples = task.splits[split]
    return sorted(
        (
            *(" ".join(word for item in items[begin:end] for word in item) for begin, end in spans),
            task.labels[label],
        )
        for spans, label in zip(examples.spans.tolist(), examples.labels.tolist(), strict=True)
    )
