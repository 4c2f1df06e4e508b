"""Sets on the hub: which are asked for, how their splits and labels are understood. The network is not touched."""

from typing import Any

import datasets as hub_library
import pytest

from minitl.data import Example, load_dataset
from minitl.errors import DataError

NAMES = ["neg", "pos"]


class Hub:
    """A hub that holds one set, and remembers what it was asked for."""

    def __init__(self, **splits: list[dict[str, Any]]) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.splits = splits
        self.features: Any = hub_library.Features(
            sentence=hub_library.Value("string"), label=hub_library.ClassLabel(names=NAMES)
        )

    def load_dataset(self, name: str, config: str | None = None, *, revision: str | None = None) -> Any:
        self.asked.append((name, config, revision))
        return hub_library.DatasetDict(
            {split: hub_library.Dataset.from_list(rows, self.features) for split, rows in self.splits.items()}
        )


def rows(*labels: int) -> list[dict[str, Any]]:
    return [{"sentence": f"text {number}", "label": label} for number, label in enumerate(labels)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    hub = Hub(train=rows(1, 0), validation=rows(1))
    monkeypatch.setattr(hub_library, "load_dataset", hub.load_dataset)
    return hub


def test_an_id_is_asked_for_as_it_stands(hub: Hub) -> None:
    dataset = load_dataset("someone/set", revision="abc")
    assert hub.asked == [("someone/set", None, "abc")]
    assert dataset.origin == "hub:someone/set@abc"
    assert dataset.train == [Example("text 0", label=1), Example("text 1", label=0)]
    assert dataset.validation == [Example("text 0", label=1)]


def test_a_configuration_follows_a_colon(hub: Hub) -> None:
    load_dataset("nyu-mll/glue:sst2")
    assert hub.asked == [("nyu-mll/glue", "sst2", None)]


def test_declared_names_are_kept_even_where_a_class_does_not_occur(hub: Hub) -> None:
    hub.splits = {"train": rows(1, 1, 1)}
    dataset = load_dataset("someone/set", validation_fraction=0)
    assert dataset.label_names == NAMES
    assert {example.label for example in dataset.train} == {1}


def test_a_class_of_minus_one_means_unlabelled(hub: Hub) -> None:
    hub.splits["test"] = rows(-1, -1)
    assert load_dataset("someone/set").test == [Example("text 0"), Example("text 1")]


def test_sst2_keeps_its_labelled_development_set_for_the_test(hub: Hub) -> None:
    hub.splits = {"train": rows(*[0, 1] * 10), "validation": rows(1, 0, 1), "test": rows(-1)}
    dataset = load_dataset("sst2")
    assert hub.asked == [("stanfordnlp/sst2", None, None)]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 2, 3)
    assert all(example.label is not None for example in dataset.test)


def test_a_language_is_a_configuration(hub: Hub) -> None:
    load_dataset("pawsx-de")
    assert hub.asked == [("google-research-datasets/paws-x", "de", None)]


def test_a_set_without_usual_splits_is_refused(hub: Hub) -> None:
    hub.splits = {"everything": rows(0, 1)}
    with pytest.raises(DataError, match="no split named train, validation or test; it has everything"):
        load_dataset("someone/set")


def test_a_set_without_the_column_is_refused(hub: Hub) -> None:
    with pytest.raises(DataError, match=r"hub:someone/set: no column 'mood' for the label; .* 'sentence', 'label'"):
        load_dataset("someone/set", label="mood")
    assert len(hub.asked) == 1


def test_whatever_the_library_raises_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINITL_ASSETS", raising=False)
    for error in (FileNotFoundError("gone"), ValueError("gone"), RuntimeError("gone"), KeyError("gone")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(hub_library, "load_dataset", fail)
        with pytest.raises(DataError, match=r"tried: .*the hub \(someone/set: '?gone"):
            load_dataset("someone/set")
