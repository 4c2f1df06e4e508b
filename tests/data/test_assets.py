"""The sets under MINITL_ASSETS: the real files where they are at hand, and small made-up ones for what can go wrong."""

import zipfile
from pathlib import Path

import pytest

from minitl.data import load_dataset
from minitl.data.assets import ASSETS
from minitl.errors import DataError

# train, validation (cut from train where the source has none), test: as the sources publish them
SIZES = {
    "sst2": (60614, 6735, 872),
    "agnews": (9001, 1000, 7600),
    "movie_reviews": (1620, 180, 200),
    "sentence_polarity": (9596, 1066, 0),
    "chemprot": (4169, 2427, 3469),
    "citation_intent": (1688, 114, 139),
    "sci_cite": (7320, 916, 1861),
    **{f"pawsx-{language}": (1800, 200, 0) for language in ("en", "de", "es", "fr")},
    **{f"stsb-{language}": (5749, 1500, 1379) for language in ("en", "de", "es", "fr")},
}


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An assets folder of our own; its data/ is returned."""
    monkeypatch.setenv("MINITL_ASSETS", str(tmp_path))
    data = tmp_path / "data"
    for folder in ("sst2", "sentiment", "pawsx"):
        (data / folder).mkdir(parents=True)
    return data


def test_every_known_set_is_tested() -> None:
    assert set(SIZES) == set(ASSETS)


@pytest.mark.parametrize("name", SIZES)
def test_real_sets_have_their_published_sizes(assets: Path, name: str) -> None:
    dataset = load_dataset(name)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == SIZES[name]
    assert Path(dataset.origin).is_relative_to(assets)
    everything = dataset.train + dataset.validation + dataset.test
    assert all(example.label is not None for example in everything)
    if dataset.label_names is None:
        assert all(isinstance(example.label, float) and 0 <= example.label <= 5 for example in everything)
    else:
        assert {example.label for example in everything} == set(range(len(dataset.label_names)))


@pytest.mark.parametrize("name", [name for name in SIZES if name.startswith(("pawsx", "stsb"))])
def test_real_pairs_have_two_texts(assets: Path, name: str) -> None:  # noqa: ARG001
    dataset = load_dataset(name)
    assert all(example.pair for example in dataset.train + dataset.validation)


def test_a_film_review_is_split_by_its_number(made_up: Path) -> None:
    with zipfile.ZipFile(made_up / "sentiment" / "movie_reviews.zip", "w") as archive:
        for label in ("neg", "pos"):
            for number in ("000", "899", "900", "999"):
                archive.writestr(f"movie_reviews/{label}/cv{number}_1.txt", f"{label} {number}\nnext line")
        archive.writestr("movie_reviews/README", "about")
    dataset = load_dataset("movie_reviews", validation_fraction=0)
    numbers = [example.text.split()[1] for example in dataset.train]
    assert numbers == ["000", "899"] * 2
    assert [example.text.split()[1] for example in dataset.test] == ["900", "999"] * 2
    for example in dataset.train + dataset.test:
        assert example.text.startswith(["neg", "pos"][example.label])  # type: ignore[call-overload]
        assert example.text.endswith("\nnext line")


def test_a_label_out_of_range_is_refused(made_up: Path) -> None:
    (made_up / "pawsx" / "dev-en.tsv").write_text("a\tb\t1\nc\td\t2\n")
    with pytest.raises(DataError, match=r"dev-en\.tsv, line 2: the label '2' is out of range: the known labels are 0"):
        load_dataset("pawsx-en")


def test_a_damaged_archive_is_refused(made_up: Path) -> None:
    (made_up / "sentiment" / "movie_reviews.zip").write_bytes(b"PK but not really")
    with pytest.raises(DataError, match=r"movie_reviews\.zip: cannot be read as a zip archive"):
        load_dataset("movie_reviews")


def test_an_archive_without_texts_is_refused(made_up: Path) -> None:
    with zipfile.ZipFile(made_up / "sentiment" / "movie_reviews.zip", "w") as archive:
        archive.writestr("README", "about")
    with pytest.raises(DataError, match=r"movie_reviews\.zip: the data set is empty"):
        load_dataset("movie_reviews")


def test_columns_can_be_named_here_too(made_up: Path) -> None:
    for split in ("train", "dev", "test"):
        (made_up / "sst2" / f"{split}.tsv").write_text("sentence\tlabel\nfine\t1\npoor\t0\n")
    assert load_dataset("sst2").label_names == ["negative", "positive"]
    with pytest.raises(DataError, match=r"train\.tsv: no column 'mood' for the label"):
        load_dataset("sst2", label="mood")


def test_an_absent_file_sends_the_search_on(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError) as caught:
        load_dataset("sst2")
    assert f"MINITL_ASSETS ({made_up / 'sst2' / 'train.tsv'} is absent)" in str(caught.value)
    assert "no network" in str(caught.value)
