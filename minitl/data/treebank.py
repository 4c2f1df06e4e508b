"""Parsed sentences: CoNLL-U treebanks with tags, features and the dependency tree of each sentence, by name or path."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from minitl.data.assets import STEMS
from minitl.data.conll import CONLLU_COLUMNS, Line, read_conllu
from minitl.data.examples import Dataset, ParsedSentence
from minitl.data.finding import SPLIT_NAMES, find_files
from minitl.data.splits import cut_off
from minitl.errors import DataError

ENDINGS = (".conllu",)
FORM, LEMMA, UPOS, FEATS, HEAD, DEPREL = map(CONLLU_COLUMNS.index, ("form", "lemma", "upos", "feats", "head", "deprel"))

# Treebanks of MINITL_ASSETS.
TREEBANKS = {"ud-en": {split: f"ud_english_ewt/en_ewt-ud-{stem}.conllu" for split, stem in STEMS.items()}}


def load_treebank(
    name: str | Path, *, validation_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> Dataset[ParsedSentence]:
    """Find the treebank `name` and load all of it.

    A CoNLL-U file, which becomes the training split, a folder with such files named train, validation (dev, valid, val)
    and test, or a treebank known by name under the folder that MINITL_ASSETS names (`TREEBANKS`). Without test split
    `test_fraction` of the training split is cut off, then without validation split `validation_fraction`, drawn with
    `seed`.

    DataError: nothing is found (listing what was tried), or a file is empty, not UTF-8 or no CoNLL-U: other columns
    than ten, words not numbered 1, 2, 3 …, features other than Name=Value, a head that is no word of the sentence, no
    root or more than one, a circle of heads; naming file and line. InputError: a fraction outside [0, 1).
    """
    paths, origin = find_files(name, TREEBANKS, ENDINGS, "treebank")
    splits = {split: _sentences(path) for split, path in paths.items()}
    train, validation, test = (splits.get(split, []) for split in SPLIT_NAMES)
    if not test:
        train, test = cut_off(train, test_fraction, seed)
    if not validation:
        train, validation = cut_off(train, validation_fraction, seed)
    return Dataset(str(name), origin, train, validation, test, None)


def depths(heads: Sequence[int]) -> list[int]:
    """How many steps each word is below the root, whose head is -1; -1 for words that do not hang on a root."""
    children: dict[int, list[int]] = defaultdict(list)
    for word, head in enumerate(heads):
        children[head].append(word)
    found = [-1] * len(heads)
    depth, level = 0, children[-1]
    while level:
        for word in level:
            found[word] = depth
        depth, level = depth + 1, [child for word in level for child in children[word]]
    return found


def _sentences(path: Path) -> list[ParsedSentence]:
    sentences = [_parsed(lines) for lines in read_conllu(path)]
    if not sentences:
        raise DataError(f"{path}: the treebank is empty: it has no sentences")
    return sentences


def _parsed(lines: Sequence[Line]) -> ParsedSentence:
    def column(at: int, what: str) -> tuple[str, ...]:
        return tuple(line.field(at, what) for line in lines)

    return ParsedSentence(
        words=column(FORM, "the word"),
        lemmas=column(LEMMA, "the lemma"),
        upos=column(UPOS, "the part of speech (upos)"),
        feats=tuple(_features(line) for line in lines),
        heads=_heads(lines),
        deprels=column(DEPREL, "the relation (deprel)"),
    )


def _features(line: Line) -> Mapping[str, str]:
    text = line.field(FEATS, "the features (feats)")
    features = _parsed_features(text)
    if features is None:
        raise DataError(
            f"{line.place}: the features (feats) {text!r}: expected Name=Value, parted by |, each name once, or _"
        )
    return features


@lru_cache(maxsize=4096)  # a treebank has a few hundred combinations: one mapping each
def _parsed_features(text: str) -> Mapping[str, str] | None:
    """None where it is malformed."""
    if text == "_":
        return {}
    features = {}
    for feature in text.split("|"):
        name, _, value = feature.partition("=")
        if not (name and value) or name in features:
            return None
        features[name] = value
    return features


def _heads(lines: Sequence[Line]) -> tuple[int, ...]:
    heads = tuple(_head(line, len(lines)) for line in lines)
    roots = [line for line, head in zip(lines, heads, strict=True) if head == -1]
    if len(roots) > 1:
        raise DataError(f"{roots[1].place}: a second root (head 0): a sentence has one, and {roots[0].place} is it")
    if not roots:
        raise DataError(f"{lines[0].place}: the sentence that begins here has no root (head 0)")
    loose = [line for line, depth in zip(lines, depths(heads), strict=True) if depth == -1]
    if loose:
        raise DataError(f"{loose[0].place}: the word does not hang on the root: its heads run in a circle")
    return heads


def _head(line: Line, words: int) -> int:
    text = line.field(HEAD, "the head")
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) > words:
        raise DataError(
            f"{line.place}: the head {text!r} must be the number of a word, 1 to {words}, or 0 for the root"
        )
    return int(text) - 1
