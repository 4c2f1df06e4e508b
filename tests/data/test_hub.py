"""Sets on the hub: which are asked for, how their splits and labels are understood. The network is not touched."""

from typing import Any

import datasets as hub_library
import pytest

from minitl.data import Example, load_dataset
from minitl.data.pairs import load_pairs
from minitl.data.questions import load_questions
from minitl.data.tagged import load_tagged
from minitl.errors import DataError, InputError

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


TAGS = ["O", "B-LOC", "I-LOC"]


@pytest.fixture
def tagged(hub: Hub) -> Hub:
    hub.features = hub_library.Features(
        tokens=hub_library.Sequence(hub_library.Value("string")),
        pos_tags=hub_library.Sequence(hub_library.Value("string")),
        ner_tags=hub_library.Sequence(hub_library.ClassLabel(names=TAGS)),
    )
    hub.splits = {
        "train": [
            {"tokens": ["In", "New", "York"], "pos_tags": ["IN", "NN", "NN"], "ner_tags": [0, 1, 2]},
            {"tokens": [], "pos_tags": [], "ner_tags": []},
        ],
        "test": [{"tokens": ["York"], "pos_tags": ["NN"], "ner_tags": [1]}],
    }
    return hub


def test_tagged_sentences_have_the_names_of_their_tags(tagged: Hub) -> None:
    dataset = load_tagged("conll2003", validation_fraction=0)
    assert tagged.asked == [("lhoestq/conll2003", None, None)]
    assert [(one.words, one.tags) for one in dataset.train] == [(("In", "New", "York"), ("O", "B-LOC", "I-LOC"))]
    assert dataset.test[0].tags == ("B-LOC",)
    assert dataset.label_names == ["B-LOC", "I-LOC", "O"]
    assert load_tagged("someone/set", column="pos_tags", validation_fraction=0).train[0].tags == ("IN", "NN", "NN")


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ("chunks", DataError, "tags that column names; there are tokens, pos_tags, ner_tags"),
        (1, InputError, "those on the hub have names: pos_tags, ner_tags"),
    ],
)
def test_a_column_of_tags_that_is_not_there_is_refused(
    tagged: Hub, column: str | int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_tagged("someone/set", column=column)
    assert len(tagged.asked) == 1


def test_as_many_tags_as_tokens(tagged: Hub) -> None:
    tagged.splits["train"][0]["ner_tags"] = [0]
    with pytest.raises(DataError, match="row 1: 3 tokens and 1 tags"):
        load_tagged("someone/set")


def test_questions_are_read_with_their_answers_or_with_none(hub: Hub) -> None:
    answers = {"text": hub_library.Value("string"), "answer_start": hub_library.Value("int32")}
    strings = {name: hub_library.Value("string") for name in ("id", "title", "context", "question")}
    hub.features = hub_library.Features(**strings, answers=hub_library.Sequence(answers))
    row = {"id": "1", "title": "t", "context": "It rains in York.", "question": "Where?"}
    hub.splits = {
        "train": [{**row, "answers": {"text": ["York"], "answer_start": [12]}}],
        "validation": [{**row, "answers": {"text": [], "answer_start": []}}],
    }
    dataset = load_questions("squad_v2", validation_fraction=0)
    assert hub.asked == [("rajpurkar/squad_v2", None, None)]
    assert dataset.train[0].answers == (("York", 12),)
    assert dataset.test[0].answers == ()
    hub.splits["train"][0]["answers"]["answer_start"] = [11]
    with pytest.raises(DataError, match="train, row 1, question '1': the answer 'York' is not at its offset 11"):
        load_questions("squad_v2")


def test_pairs_are_columns_also_within_a_column(hub: Hub) -> None:
    hub.features = hub_library.Features(translation=hub_library.Translation(languages=["de", "en"]))
    hub.splits = {"train": [{"translation": {"de": "Es regnet.", "en": "It rains."}}] * 4}
    dataset = load_pairs(
        "wmt/wmt16:de-en", text="translation.de", pair="translation.en", validation_fraction=0, test_fraction=0
    )
    assert hub.asked == [("wmt/wmt16", "de-en", None)]
    assert dataset.train == [Example("Es regnet.", "It rains.")] * 4
    with pytest.raises(DataError, match=r"no column 'translation\.fr'"):
        load_pairs("wmt/wmt16:de-en", text="translation.fr", pair="translation.en")


@pytest.mark.parametrize("load", [load_tagged, load_questions, load_pairs])
def test_what_is_no_name_of_the_hub_is_not_asked_for(hub: Hub, load: Any) -> None:
    with pytest.raises(DataError, match="'conl2003' was found"):
        load("conl2003")
    assert hub.asked == []


@pytest.mark.parametrize("load", [load_tagged, load_questions, load_pairs])
def test_what_the_hub_does_not_have_is_said_with_what_was_tried(
    monkeypatch: pytest.MonkeyPatch,
    load: Any,
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no way there")

    monkeypatch.setattr(hub_library, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"'someone/set' was found; tried: .*; the hub \(someone/set: .*no way there"):
        load("someone/set")


def test_so_many_examples_are_drawn_to_train_on(hub: Hub) -> None:
    hub.splits = {"train": rows(*[0] * 40, *[1] * 40)}
    dataset = load_dataset("someone/set", examples=20)
    assert len(dataset.train) == 20
    assert sum(example.label or 0 for example in dataset.train) == 10
    assert len(dataset.validation) == 8
    with pytest.raises(InputError, match="cannot draw 100 examples from a pool of 72"):
        load_dataset("someone/set", examples=100)
