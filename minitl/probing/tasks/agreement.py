"""Subject-verb agreement: is the number of the subject known where the verb stands?

Linzen et al. (2016) ask which number a verb that was not read yet must have, SentEval (Conneau et al. 2018) which the
subject has, from a vector of the whole sentence, in which its own form is plain to see. Here the vector of the verb is
asked for the number of its subject, in whole sentences, as a model reads them, and the verb must not give it away:

    The keys to the cabinet opened every door .     of "opened": Plur
    The key to the cabinets opened every door .     of "opened": Sing

- each verb with a singular subject is asked together with the same verb form with a plural one in the same split, so
  that who knows the verb alone is right half of the time, whatever the language: "opens" has no partner;
- verbs with an auxiliary that has a number (is, were) are left out, for it stands right beside;
- so are subjects of several parts ("Ann and Bo"), whose number is not their first word's.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minitl.data import ParsedSentence
from minitl.probing.task import SPLITS, Split, Task
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import behind, draw
from minitl.probing.tasks.source import Source

NUMBERS = ("Plur", "Sing")


@dataclass(frozen=True)
class Verb:
    """Where it stands, its form in small letters, and the number of its subject."""

    sentence: int
    at: int
    form: str
    number: str


def agreement(about: About, source: Source) -> Task:
    """The number of a verb's subject, from the verb; its type is its form. A corpus of its own."""
    whole = draw(source.name, source.treebank, {split: len(pool) for split, pool in source.treebank.items()})
    kept = {split: paired(whole.sentences[split], source.limits[split]) for split in SPLITS}
    holders: Mapping[Split, list[int]] = {split: sorted({verb.sentence for verb in kept[split]}) for split in SPLITS}
    drawn = behind(
        f"{source.name}, subjects and verbs",
        {split: [whole.sentences[split][number] for number in holders[split]] for split in SPLITS},
    )
    asked: dict[Split, list[Question]] = {}
    for split in SPLITS:
        firsts = dict(zip(holders[split], (first for first, _ in drawn.words(split)), strict=True))
        asked[split] = [Question((place(firsts[v.sentence] + v.at),), v.number, v.form) for v in kept[split]]
    return task_of_classes(about, drawn.corpus, "words", asked)


def paired(sentences: Sequence[ParsedSentence], limit: int) -> list[Verb]:
    """Verbs two by two, alike but for the number of their subject, as they come, from at most `limit` sentences."""
    waiting: dict[tuple[str, str], list[Verb]] = defaultdict(list)
    kept: list[Verb] = []
    holders: set[int] = set()
    for number, sentence in enumerate(sentences):
        for verb in verbs(number, sentence):
            other = waiting[verb.form, NUMBERS[1 - NUMBERS.index(verb.number)]]
            if not other:
                waiting[verb.form, verb.number].append(verb)
            elif len(holders | {verb.sentence, other[0].sentence}) <= limit:
                holders |= {verb.sentence, other[0].sentence}
                kept += [other.pop(0), verb]
            else:
                return kept
    return kept


def verbs(number: int, sentence: ParsedSentence) -> Iterator[Verb]:
    """Those of a sentence that may be asked."""
    relations = [deprel.partition(":")[0] for deprel in sentence.deprels]
    several, helped = set(), set()  # words with a conjunct, and with an auxiliary that has a number
    for at, head in enumerate(sentence.heads):
        if relations[at] == "conj":
            several.add(head)
        elif relations[at] == "aux" and "Number" in sentence.feats[at]:
            helped.add(head)
    for at, head in enumerate(sentence.heads):
        of_subject = sentence.feats[at].get("Number")
        is_subject = relations[at] == "nsubj" and head >= 0 and at not in several
        if is_subject and sentence.upos[head] == "VERB" and head not in helped and of_subject in NUMBERS:
            yield Verb(number, head, sentence.words[head].lower(), of_subject)
