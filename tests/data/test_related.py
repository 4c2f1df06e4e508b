"""Pairs and triplets of texts, and pairs with scores."""

import json
from pathlib import Path

import pytest

from minitl.data import Related, load_related
from minitl.errors import DataError, InputError

SCORED = "sentence1,sentence2,score\na cat,the cat,5.0\na cat,a dog,2.0\none,two,4.0\nred,green,0\n"


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    path = tmp_path / "scored.csv"
    path.write_text(SCORED)
    return path


def test_scores_are_shares_of_the_highest(scored: Path) -> None:
    data = load_related(scored, highest=5.0, validation_fraction=0)
    assert [example.score for example in data.train] == [1.0, 0.4, 0.8, 0.0]
    assert data.train[1] == Related("a cat", "a dog", score=0.4)
    assert data.train[1].texts == ("a cat", "a dog")


def test_pairs_with_a_score_of_at_least_so_much_belong_together(scored: Path) -> None:
    data = load_related(scored, highest=5.0, least=4.0, validation_fraction=0)
    assert data.train == [Related("a cat", "the cat"), Related("one", "two")]


def test_triplets_in_lines_of_json_with_splits(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("dev", 2), ("test", 1)):
        rows = [{"anchor": f"a{i}", "positive": f"p{i}", "negative": f"n{i}"} for i in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_related(tmp_path)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [3, 2, 1]
    assert data.test[0].texts == ("a0", "p0", "n0")


def test_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("id\ten\tde\n" + "\n".join(f"{i}\tword {i}\tWort {i}" for i in range(10)))
    data = load_related(path, anchor="en", positive="de", validation_fraction=0.2, test_fraction=0.1)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [7, 2, 1]
    assert all(example.positive == example.anchor.replace("word", "Wort") for example in data.train)


def test_the_sts_benchmark(assets: Path) -> None:  # noqa: ARG001 - skips where it is not at hand
    data = load_related("stsb-en", highest=5.0)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [5749, 1500, 1379]
    assert data.train[0] == Related("A plane is taking off.", "An air plane is taking off.", score=1.0)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\nx,y\n", {}, "no column with a usual name for the anchor"),
        ("anchor,b\nx,y\n", {}, "no column with a usual name for the positive"),
        (
            "anchor,positive\nx,y\n",
            {"negative": "other"},
            "no column 'other' for the negative; the columns are 'anchor'",
        ),
        ("anchor,positive\nx,\n", {}, "line 2: the column 'positive' must hold a text, found ''"),
        (SCORED, {}, r"line 2: the column 'score' must hold a score from 0 to 1 \(the option highest\), found '5.0'"),
        (SCORED.replace("4.0", "high"), {"highest": 5.0}, "line 4: the column 'score' must hold a score"),
        (SCORED.replace("4.0", "nan"), {"highest": 5.0}, "line 4: the column 'score' must hold a score"),
        (SCORED, {"highest": 5.0, "least": 5.5}, "no pair has a score of 5.5 or more"),
        ("anchor,positive\nx,y\n", {"least": 0.5}, "least chooses pairs by their score, and there is no column"),
    ],
)
def test_bad_data_is_named(tmp_path: Path, text: str, options: dict[str, object], message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_related(tmp_path / "bad.csv", **options)  # type: ignore[arg-type]


def test_a_highest_score_that_means_nothing_is_refused(scored: Path) -> None:
    with pytest.raises(InputError, match="highest must be above 0, got 0"):
        load_related(scored, highest=0)
