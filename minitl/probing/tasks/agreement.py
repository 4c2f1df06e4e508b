"""Subject-verb agreement: is the number of the subject known where the verb stands?

Linzen et al. (2016, arXiv:1611.01368) ask which number a verb that was not read yet must have, SentEval (Conneau et al.
2018) which the subject has, from a vector of the whole sentence, in which its own form is plain to see. Here the vector
of the verb is asked for the number of its subject, in whole sentences, as a model reads them, and the verb must not
give it away:

    The keys to the cabinet opened every door .     of "opened": Plur
    The key to the cabinets opened every door .     of "opened": Sing

- each verb with a singular subject is asked together with the same form in the same tense and mood with a plural one in
  the same split, so that who knows the verb alone is right half of the time, whatever the language: "opens" has no
  partner, and that of "will open" is not "open" but another "will open";
- subjects are nouns, as in Linzen et al.: a pronoun stands right before its verb, and most of them show their number.
  Of "the keys that opened" it is "keys", and of "the keys turned and opened" too;
- verbs with an auxiliary that has a number (is, were) are left out, for it stands right beside;
- so are subjects of several parts ("Ann and Bo"), whose number is not their first word's.

That leaves few: of UD English EWT's own test part 48 verbs, of which no layer's score would be sure. So all of a
treebank's sentences are one pool, as those of Linzen et al. are, in which pairs are found, and then cut 4 : 1 : 1,
whatever splits it has. No sentence is in two of them: pairs that share one are cut together. Of EWT that makes some 560
verbs to train on and 140 to test; the word before the verb is then right in 54% of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from minitl.data import ParsedSentence
from minitl.probing.task import SPLITS, Split, Task
from minitl.probing.tasks.asking import About, Question, place, task_of_classes
from minitl.probing.tasks.drawing import behind, draw
from minitl.probing.tasks.source import HELD_OUT, Source

NUMBERS = ("Plur", "Sing")
NOUNS = ("NOUN", "PROPN")
AGREEING = ("Number", "Person")  # features of a verb that follow its subject: all else must be alike in a pair
CUT: tuple[Split, ...] = SPLITS + SPLITS[:1] * (HELD_OUT - 1)  # in turn; so that three groups are enough for all


@dataclass(frozen=True)
class Verb:
    """Where it stands, its form in small letters, and the number of its subject."""

    sentence: int
    at: int
    form: str
    number: str


Pair = tuple[Verb, Verb]


def agreement(about: About, source: Source) -> Task:
    """The number of a verb's subject, from the verb. A corpus of its own.

    There is no control task. It would ask whether labels of verb forms can be learnt by heart (Hewitt & Liang 2019),
    and here that is of no use: each form has both answers equally often. The pairs are the control.
    """
    whole = draw(source.name, source.treebank, {split: len(pool) for split, pool in source.treebank.items()})
    pool = [sentence for split in SPLITS for sentence in whole.sentences[split]]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(source.seed))
    pool = [pool[number] for number in order.tolist()]
    kept = cut(paired(pool, sum(source.limits.values())))
    holders: Mapping[Split, list[int]] = {split: sorted({verb.sentence for verb in kept[split]}) for split in SPLITS}
    drawn = behind(
        f"{source.name}, subjects and verbs", {split: [pool[number] for number in holders[split]] for split in SPLITS}
    )
    asked: dict[Split, list[Question]] = {}
    for split in SPLITS:
        firsts = dict(zip(holders[split], (first for first, _ in drawn.words(split)), strict=True))
        asked[split] = [Question((place(firsts[v.sentence] + v.at),), v.number) for v in kept[split]]
    return task_of_classes(about, drawn.corpus, "words", asked)


def paired(sentences: Sequence[ParsedSentence], limit: int) -> list[Pair]:
    """Verbs two by two, alike but for the number of their subject, as they come, from at most `limit` sentences."""
    waiting: dict[tuple[object, str], list[Verb]] = defaultdict(list)
    pairs: list[Pair] = []
    holders: set[int] = set()
    for number, sentence in enumerate(sentences):
        for verb in verbs(number, sentence):
            like = (verb.form, frozenset(item for item in sentence.feats[verb.at].items() if item[0] not in AGREEING))
            others = waiting[like, NUMBERS[1 - NUMBERS.index(verb.number)]]
            if not others:
                waiting[like, verb.number].append(verb)
            elif len(holders | {verb.sentence, others[0].sentence}) <= limit:
                holders |= {verb.sentence, others[0].sentence}
                pairs.append((others.pop(0), verb))
            else:
                return pairs
    return pairs


def cut(pairs: Sequence[Pair]) -> dict[Split, list[Verb]]:
    """The verbs of all pairs, four for training to one each for validation and test, no sentence in two splits."""
    kept: dict[Split, list[Verb]] = {split: [] for split in SPLITS}
    for turn, group in enumerate(linked(pairs)):
        kept[CUT[turn % len(CUT)]] += group
    return kept


def linked(pairs: Sequence[Pair]) -> list[list[Verb]]:
    """Groups of pairs that share sentences, directly or through others, in the order in which they begin."""
    groups: dict[int, list[Verb]] = {}  # of each sentence
    for pair in pairs:
        first, second = (groups.setdefault(verb.sentence, []) for verb in pair)
        if first is not second:
            first += second
            groups |= {verb.sentence: first for verb in (*second, pair[1])}
        first += pair
    return list({id(group): group for group in groups.values()}.values())


def verbs(number: int, sentence: ParsedSentence) -> Iterator[Verb]:
    """Those of a sentence that may be asked, in their order."""
    relations = [deprel.partition(":")[0] for deprel in sentence.deprels]
    several, helped = set(), set()  # words with a conjunct, and with an auxiliary that has a number
    for at, head in enumerate(sentence.heads):
        if relations[at] == "conj":
            several.add(head)
        elif relations[at] == "aux" and "Number" in sentence.feats[at]:
            helped.add(head)
    for at, subject in sorted(subjects(sentence, helped).items()):
        of_subject = sentence.feats[subject].get("Number")
        is_noun = sentence.upos[subject] in NOUNS and subject not in several
        if is_noun and sentence.upos[at] == "VERB" and at not in helped and of_subject in NUMBERS:
            yield Verb(number, at, sentence.words[at].lower(), of_subject)


def subjects(sentence: ParsedSentence, helped: set[int]) -> dict[int, int]:
    """The subject of each word that has one: of "keys that opened" keys, and of what follows with "and" the same.

    Not where the first of the two verbs is `helped`, for its auxiliary is the second one's too ("was opened and shut").
    """
    plain = [deprel.partition(":")[0] for deprel in sentence.deprels]
    own = {head for at, head in enumerate(sentence.heads) if plain[at] in ("nsubj", "csubj", "expl")}
    found: dict[int, int] = {}
    for at, head in enumerate(sentence.heads):
        if plain[at] == "nsubj" and head >= 0:
            relative = sentence.feats[at].get("PronType") == "Rel" and sentence.deprels[head] == "acl:relcl"
            found[head] = sentence.heads[head] if relative else at
    for at, head in enumerate(sentence.heads):
        if plain[at] == "conj" and head in found and head not in helped and at not in own:
            found[at] = found[head]
    return found
