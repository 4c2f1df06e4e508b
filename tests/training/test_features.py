"""Features of a frozen backbone: computed once, kept in files, and never taken for another model's or text's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minitl import fit, load_model, load_tokenizer
from minitl.data import Example, TaggedSentence
from minitl.errors import CheckpointError
from minitl.models.base import Model
from minitl.tasks.sequence_classification import SequenceClassification
from minitl.tasks.task import Task
from minitl.tasks.token_classification import TokenClassification
from minitl.training import FROZEN, Settings
from minitl.training.feeds import FeatureFeed, Feed

CPU = torch.device("cpu")
QUICK = Settings(epochs=2, batch_size=8, learning_rate=3e-2)


@pytest.fixture(params=["sequence", "token"])
def work(request: pytest.FixtureRequest, tiny: Path, task: SequenceClassification, examples: list[Example]) -> Any:
    """A head that reads the pooled output alone, and one that reads tokens: (model, task, examples)."""
    torch.manual_seed(1)
    if request.param == "sequence":
        return load_model(tiny, "sequence-classification", labels=["negative", "positive"]), task, examples
    tagged: Task[Any, Any] = TokenClassification(load_tokenizer(tiny), ["O", "B-praise"], max_length=16)
    model = load_model(tiny, "token-classification", labels=["O", "B-praise"])
    sentences = [TaggedSentence(words := tuple(e.text.split()), tuple("O" for _ in words)) for e in examples]
    return model, tagged, sentences


def count(model: Model) -> list[int]:
    calls, encode = [0], model.encode

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return encode(*arguments, **options)

    model.encode = counted  # type: ignore[method-assign]
    return calls


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_batch_is_what_the_whole_model_gives(work: Any, tmp_path: Path, on_disk: bool) -> None:
    model, task, examples = work
    kept = FeatureFeed(model, task, examples, CPU, 7, tmp_path if on_disk else None)
    whole = Feed(model, task, examples, CPU)
    for indices in ([0], [5, 1, 9], [43, 2, 30, 11]):
        (found, batch), (expected, _) = kept(indices), whole(indices)
        found, expected = found.logits, expected.logits
        if found.dim() == 3:  # what stands at padding means nothing
            real = batch.inputs["attention_mask"].bool()
            found, expected = found[real], expected[real]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_files_are_read_again_and_nothing_is_computed(work: Any, tmp_path: Path) -> None:
    model, task, examples = work
    first = FeatureFeed(model, task, examples, CPU, 7, tmp_path)
    calls = count(model)
    again = FeatureFeed(model, task, examples, CPU, 7, tmp_path)
    assert calls == [0]
    assert again([3, 4])[0].logits.equal(first([3, 4])[0].logits)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("change", ["a weight", "a text", "a head"])
def test_other_weights_or_texts_are_other_features(work: Any, tmp_path: Path, change: str) -> None:
    model, task, examples = work
    FeatureFeed(model, task, examples, CPU, 7, tmp_path)
    with torch.no_grad():
        if change == "a weight":
            model.layers[-1].feed_forward.up.bias[0] += 1e-3
        elif change == "a head":
            model.head.classifier.bias += 1
        else:
            examples = [examples[1], *examples[1:]]
    calls = count(model)
    FeatureFeed(model, task, examples, CPU, 7, tmp_path)
    assert (calls[0] > 0) == (change != "a head")  # the head is not in the features
    assert len(list(tmp_path.iterdir())) == (1 if change == "a head" else 2)


def test_a_file_that_was_cut_is_noticed(work: Any, tmp_path: Path) -> None:
    model, task, examples = work
    FeatureFeed(model, task, examples, CPU, 7, tmp_path)
    file = next(tmp_path.glob("*/[ph]*ed" if (next(tmp_path.iterdir()) / "pooled").exists() else "*/hidden"))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"not of \d+ bytes"):
        FeatureFeed(model, task, examples, CPU, 7, tmp_path)


def test_a_file_is_no_folder_for_them(work: Any, tmp_path: Path) -> None:
    model, task, examples = work
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"file: cannot write here: Not a directory"):
        FeatureFeed(model, task, examples, CPU, 7, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_training_keeps_them_while_it_runs_and_a_shared_folder_for_later(
    classifier: Callable[[], Model], task: SequenceClassification, examples: list[Example], tmp_path: Path
) -> None:
    from minitl.training import discard_state

    def train(settings: Settings, folder: Path | None) -> tuple[dict[str, torch.Tensor], int]:
        model = classifier()
        calls = count(model)
        fit(model, examples, examples[:9], task=task, settings=settings, strategy=FROZEN, folder=folder)
        return {n: p.detach().clone() for n, p in model.named_parameters()}, calls[0]

    in_memory, computed = train(QUICK, None)
    kept, _ = train(QUICK, tmp_path / "run")
    assert (tmp_path / "run" / "features").exists()
    discard_state(tmp_path / "run")
    assert not (tmp_path / "run" / "features").exists()
    shared = replace(QUICK, features=str(tmp_path / "shared"))
    first, once = train(shared, tmp_path / "a")
    second, never = train(shared, tmp_path / "b")
    assert (once, never) == (computed, 0)
    for other in (kept, first, second):
        assert all(value.equal(other[name]) for name, value in in_memory.items())
