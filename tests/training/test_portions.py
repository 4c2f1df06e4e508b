"""A training of so many steps, on a list or a stream; a stream is gone on with where it was left."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minitl import fit
from minitl.data import Example, Stream
from minitl.data.stream_files import load_stream
from minitl.data.tables import Table
from minitl.errors import DataError, InputError, Interrupted, TrainingError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import TrainingBatch
from minitl.tasks.texts import LabelledRow
from minitl.training import FROZEN, Result, Settings
from minitl.training.log import Step
from tests.training.test_loop_options import Hearing, same

Make = Callable[[], Model]
QUICK = Settings(epochs=1, batch_size=8, learning_rate=3e-3)


def read(table: Table) -> list[Example]:
    return [Example(row["text"], label=row["label"]) for row in table.rows]


@pytest.fixture
def rows(tmp_path: Path, examples: list[Example]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": e.text, "label": e.label}) + "\n" for e in examples))
    return path


@pytest.fixture
def stream(rows: Path) -> Callable[[int], Stream[Example]]:
    def make(portion: int) -> Stream[Example]:
        found = load_stream(rows, read, portion, 0.0, {}).stream
        assert found is not None
        return found

    return make


def test_a_stream_of_one_portion_teaches_what_its_list_teaches(
    classifier: Make, task: SequenceClassification, examples: list[Example], stream: Callable[[int], Stream[Example]]
) -> None:
    one, other = classifier(), classifier()
    fit(one, examples, examples, task=task, settings=QUICK)
    fit(other, stream(1000), examples, task=task, settings=replace(QUICK, steps=6))
    assert same(one, other)


def test_the_steps_are_those_that_were_asked_for(
    classifier: Make, task: SequenceClassification, examples: list[Example]
) -> None:
    """44 examples in batches of 8 are 6 steps an epoch: 15 end in the middle of the third."""
    heard = Hearing()
    settings = replace(QUICK, steps=15)
    result = fit(classifier(), examples, examples[:9], task=task, settings=settings, listener=heard)
    assert result.steps == len(heard.steps) == 15
    assert [v.step for v in heard.validations] == [6, 12, 15]
    rates = [step.learning_rate for step in heard.steps]
    assert rates[-1] == min(rates[2:])  # the schedule is that of 15 steps
    assert heard.steps[-1].epoch == 2.5


def test_whole_epochs_are_one_training_by_either_name(
    classifier: Make, task: SequenceClassification, examples: list[Example]
) -> None:
    one, other = classifier(), classifier()
    fit(one, examples, examples[:9], task=task, settings=replace(QUICK, epochs=2))
    fit(other, examples, examples[:9], task=task, settings=replace(QUICK, epochs=7, steps=12))
    assert same(one, other)


def test_all_is_read_once_a_pass(
    classifier: Make, task: SequenceClassification, examples: list[Example], stream: Callable[[int], Stream[Example]]
) -> None:
    """Portions of 16, 16 and 12 examples: 2, 2 and 2 batches; then the first one again."""
    seen: list[tuple[int, ...]] = []
    collate = task.collate

    def noting(items: list[LabelledRow]) -> TrainingBatch:
        seen.extend(tuple(item.row.ids) for item in items)
        return collate(items)

    task.collate = noting  # type: ignore[assignment, method-assign]
    result = fit(classifier(), stream(16), task=task, settings=replace(QUICK, steps=8))
    rows = [tuple(item.row.ids) for item in task.encode(examples)]
    assert (result.steps, result.best_epoch) == (8, 4.0)
    assert sorted(seen) == sorted([*rows, *rows[:16]])
    assert seen[:16] != seen[44:]  # in another order


@pytest.mark.parametrize("stop_at", [1, 2, 5, 6, 7, 9])
def test_a_stream_goes_on_where_it_was_left(
    stop_at: int,
    classifier: Make,
    task: SequenceClassification,
    examples: list[Example],
    stream: Callable[[int], Stream[Example]],
    tmp_path: Path,
) -> None:
    settings = replace(QUICK, steps=9)

    def run(model: Model, heard: Hearing, folder: Path) -> Result:
        options = {"task": task, "settings": settings, "folder": folder, "listener": heard}
        return fit(model, stream(16), examples[:9], resume=True, **options)  # type: ignore[arg-type]

    whole = classifier()
    unbroken = run(whole, Hearing(), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(classifier(), Hearing(stop_at), tmp_path / "parts")
    parted, heard = classifier(), Hearing()
    result = run(parted, heard, tmp_path / "parts")
    assert heard.steps[:1] == [] or heard.steps[0].step == stop_at + 1
    assert same(whole, parted)
    assert losses(result.history.steps) == losses(unbroken.history.steps)


def losses(steps: list[Step]) -> list[float]:
    return [step.loss for step in steps]


def test_another_stream_is_noticed(
    classifier: Make,
    task: SequenceClassification,
    stream: Callable[[int], Stream[Example]],
    rows: Path,
    tmp_path: Path,
) -> None:
    options = {"task": task, "settings": replace(QUICK, steps=9), "folder": tmp_path / "run"}
    with pytest.raises(Interrupted):
        fit(classifier(), stream(16), listener=Hearing(3), **options)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"the training.portion data"):
        fit(classifier(), stream(12), resume=True, **options)  # type: ignore[arg-type]
    with open(rows, "a") as file:
        file.write('{"text": "good", "label": 1}\n')
    with pytest.raises(TrainingError, match=r"the training.rows data"):
        fit(classifier(), stream(16), resume=True, **options)  # type: ignore[arg-type]


def test_what_a_stream_cannot(
    classifier: Make, task: SequenceClassification, stream: Callable[[int], Stream[Example]], rows: Path
) -> None:
    with pytest.raises(InputError, match="no end: say how many steps"):
        fit(classifier(), stream(16), task=task, settings=QUICK)
    with pytest.raises(InputError, match="a stream is never whole"):
        fit(classifier(), stream(16), task=task, settings=replace(QUICK, steps=2), strategy=FROZEN)
    rows.write_text('{"text": "good", "label": 1}\n' * 8 + '{"text": "good", "label": 7}\n')
    with pytest.raises(DataError, match=r"training example 0: .*7"):
        fit(classifier(), stream(8), task=task, settings=replace(QUICK, steps=5))
    nothing = Stream(stream(8).rows, lambda _table: [], 8)
    with pytest.raises(DataError, match="empty"):
        fit(classifier(), nothing, task=task, settings=replace(QUICK, steps=5))
