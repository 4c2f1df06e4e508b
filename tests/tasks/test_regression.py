"""Scores of texts and pairs: squared error and correlations."""

from pathlib import Path

import pytest
import torch

from minitl import fit, load_model, load_tokenizer
from minitl.data import Example
from minitl.errors import DataError
from minitl.nn.output import Output
from minitl.tasks.regression import Regression
from minitl.training import Settings, predict


@pytest.fixture(scope="module")
def task(tiny: Path) -> Regression:
    return Regression(load_tokenizer(tiny), max_length=12)


def test_the_loss_is_the_summed_squared_error(task: Regression) -> None:
    _, targets = task.collate(task.encode([Example("good", label=1.5), Example("bad", "film", label=3)]))
    logits = torch.tensor([[1.0], [5.0]])
    loss, count = task.loss(Output(logits, logits=logits), targets)
    assert (float(loss), count) == (0.25 + 4.0, 2)


def test_the_scores_are_correlations_and_never_nan(task: Regression) -> None:
    examples = [Example("", label=label) for label in (0.0, 1.0, 2.0, 4.0)]
    assert task.score([1.0, 2.0, 3.0, 100.0], examples)["spearman"] == pytest.approx(1.0)
    assert task.score([0.0, -1.0, -2.0, -4.0], examples)["pearson"] == pytest.approx(-1.0)
    assert task.score([1.0] * 4, examples) == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize("label", [None, "high", float("nan")])
def test_a_label_that_is_no_number_is_refused(task: Regression, label: object) -> None:
    with pytest.raises(DataError, match=r"training example 0: label .* is not a finite number"):
        task.check([Example("a", label=label)], "training")  # type: ignore[arg-type]


def test_a_tiny_model_learns_how_many_words_are_good(task: Regression, tiny: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 5, (80,), generator=generator).tolist()
    examples = [Example(" ".join(["good"] * n + ["film"] * (5 - n)), label=float(n)) for n in counts]
    torch.manual_seed(1)
    model = load_model(tiny, "sequence-classification", num_labels=1)
    result = fit(model, examples[:60], examples[60:], task=task, settings=Settings(epochs=6, learning_rate=3e-3))
    assert result.metrics["spearman"] > 0.9
    assert predict(model, [Example(e.text) for e in examples[60:]], task=task) == pytest.approx(
        [float(s) for s in predict(model, examples[60:], task=task, batch_size=7)], abs=1e-4
    )
