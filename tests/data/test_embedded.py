"""Every property that the data card of the embedded review set claims, computed from its files."""

import csv
import re
from collections import Counter, defaultdict
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minitl.data
from minitl.data import load_dataset

FOLDER = Path(minitl.data.__file__).parent / "embedded"
SPLITS = ("train", "validation", "test")
DOMAINS = {"films", "books", "restaurants", "devices", "travel", "services"}
HARD_KINDS = {"negation", "concession", "sarcasm", "mixed", "domain"}
Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    def read(split: str) -> list[Row]:
        with open(FOLDER / f"{split}.tsv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))

    return {split: read(split) for split in SPLITS}


@pytest.fixture(scope="module")
def reviews(rows: dict[str, list[Row]]) -> list[tuple[str, str]]:
    """All reviews as (split, text)."""
    return [(split, row["text"]) for split in SPLITS for row in rows[split]]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    tokens = words(text)
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def test_every_row_is_whole(rows: dict[str, list[Row]]) -> None:
    for split in SPLITS:
        for row in rows[split]:
            assert list(row) == ["text", "label", "domain", "kind"]
            assert row["label"] in ("positive", "negative")
            assert row["domain"] in DOMAINS
            assert row["kind"] in HARD_KINDS | {"plain"}
            assert row["text"] == row["text"].strip()
            assert 8 <= len(row["text"].split()) <= 45


def test_it_holds_at_least_1600_reviews_in_three_splits(rows: dict[str, list[Row]]) -> None:
    assert {split: len(rows[split]) for split in SPLITS} == {"train": 1812, "validation": 288, "test": 576}
    assert sum(map(len, rows.values())) >= 1600


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("column", ["domain", "kind"])
def test_neither_domain_nor_kind_gives_the_label_away(rows: dict[str, list[Row]], split: str, column: str) -> None:
    count = Counter((row[column], row["label"]) for row in rows[split])
    values = {value for value, _ in count}
    assert values == (DOMAINS if column == "domain" else HARD_KINDS | {"plain"})
    assert all(count[value, "positive"] == count[value, "negative"] > 0 for value in values)


@pytest.mark.parametrize("split", SPLITS)
def test_domains_are_of_one_size(rows: dict[str, list[Row]], split: str) -> None:
    assert len(set(Counter(row["domain"] for row in rows[split]).values())) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_at_least_a_quarter_is_hard(rows: dict[str, list[Row]], split: str) -> None:
    hard = sum(row["kind"] in HARD_KINDS for row in rows[split])
    assert hard >= 0.25 * len(rows[split])


def test_no_sentence_occurs_in_two_reviews(reviews: list[tuple[str, str]]) -> None:
    where = defaultdict(list)
    for _, text in reviews:
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            where[" ".join(words(sentence))].append(text)
    assert [texts for sentence, texts in where.items() if sentence and len(set(texts)) > 1] == []


def test_no_two_reviews_are_near_duplicates(reviews: list[tuple[str, str]]) -> None:
    """Jaccard similarity of word 3-grams at most 0.2 for every pair, across splits and within."""
    grams = [ngrams(text, 3) for _, text in reviews]
    holders = defaultdict(list)
    for index, of_review in enumerate(grams):
        for gram in of_review:
            holders[gram].append(index)
    shared = Counter(pair for indices in holders.values() for pair in combinations(indices, 2))
    alike = [
        (reviews[a], reviews[b])
        for (a, b), common in shared.items()
        if common / (len(grams[a]) + len(grams[b]) - common) > 0.2
    ]
    assert alike == []


def test_no_5_gram_occurs_in_more_than_three_reviews(reviews: list[tuple[str, str]]) -> None:
    count = Counter(gram for _, text in reviews for gram in ngrams(text, 5))
    assert [gram for gram, number in count.items() if number > 3] == []


def test_length_tells_little_about_the_label(rows: dict[str, list[Row]]) -> None:
    """The best threshold on the number of words, in either direction, chosen on the test set itself, is near chance."""
    test = [(len(row["text"].split()), row["label"] == "positive") for row in rows["test"]]
    right = [sum((length > cut) == positive for length, positive in test) / len(test) for cut in range(46)]
    assert max(*right, *(1 - share for share in right)) < 0.6


@pytest.mark.parametrize("mark", ["!", '"', "?", ";", ":"])
def test_punctuation_tells_little_about_the_label(rows: dict[str, list[Row]], mark: str) -> None:
    everything = [row for split in SPLITS for row in rows[split]]
    count = Counter(row["label"] for row in everything if mark in row["text"])
    assert abs(count["positive"] - count["negative"]) <= 0.02 * len(everything)


def test_it_loads_by_name_as_written(rows: dict[str, list[Row]]) -> None:
    dataset = load_dataset("embedded")
    assert (dataset.origin, dataset.label_names) == ("embedded", ["negative", "positive"])
    for split in SPLITS:
        examples = getattr(dataset, split)
        assert [example.text for example in examples] == [row["text"] for row in rows[split]]
        assert [example.label for example in examples] == [int(row["label"] == "positive") for row in rows[split]]


def test_the_data_card_counts_what_is_there(rows: dict[str, list[Row]]) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for kind in HARD_KINDS | {"plain"}:
        counts = [sum(row["kind"] == kind for row in rows[split]) for split in SPLITS]
        assert f"| kind `{kind}` | {' | '.join(f'{n:,}' for n in [*counts, sum(counts)])} |" in card


def test_the_data_card_says_how_far_counting_words_gets(rows: dict[str, list[Row]]) -> None:
    """Logistic regression on train, its penalty chosen on validation: accuracy on test, its plain and its hard part."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    texts = {split: [row["text"] for row in rows[split]] for split in SPLITS}
    labels = {split: np.array([row["label"] == "positive" for row in rows[split]]) for split in SPLITS}
    plain = np.array([row["kind"] == "plain" for row in rows["test"]])

    def form(texts: list[str]) -> np.ndarray:
        return np.array([[len(t.split()), len(t), *map(t.count, ".,!?;:\"'-")] for t in texts], dtype=float)

    def accuracies(features: Any) -> list[str]:
        matrices = {split: features.transform(texts[split]) for split in SPLITS}
        fitted = [
            LogisticRegression(C=penalty, max_iter=5000).fit(matrices["train"], labels["train"])
            for penalty in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
        ]
        scores = [model.score(matrices["validation"], labels["validation"]) for model in fitted]
        best = fitted[len(scores) - 1 - scores[::-1].index(max(scores))]  # of equals the least penalised
        right = best.predict(matrices["test"]) == labels["test"]
        return [f"{100 * part.mean():.1f}" for part in (right, right[plain], right[~plain])]

    counts = accuracies(CountVectorizer().fit(texts["train"]))
    pairs = accuracies(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts["train"]))
    shape = accuracies(make_pipeline(FunctionTransformer(form), StandardScaler()).fit(texts["train"]))
    card = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    assert "word counts reach {}% ({}% on the plain reviews, {}% on the hard ones)".format(*counts) in card
    assert "tf-idf of words and word pairs {}% ({} and {})".format(*pairs) in card
    assert f"punctuation marks alone {shape[0]}%" in card


def test_rows_are_shuffled(rows: dict[str, list[Row]]) -> None:
    """Labels alternate as in a random order, so that the first rows of a file are no biased sample."""
    for split in SPLITS:
        changes = sum(a["label"] != b["label"] for a, b in pairwise(rows[split]))
        assert changes > 0.4 * len(rows[split])
