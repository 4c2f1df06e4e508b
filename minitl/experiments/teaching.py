"""One training of an experiment, told as a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitl.adapters import count_parameters
from minitl.checkpoints.manifest import CHECKOUT
from minitl.data import sample
from minitl.experiments.experiment import NotHere, here
from minitl.models.loading import save_model
from minitl.training import Listener, Result, evaluate, fit
from minitl.training.beginning import Beginning, begin
from minitl.training.recipe import Recipe, make_recipe, read_values


@dataclass(frozen=True)
class Taught:
    """A model that was taught, with what it began with."""

    begun: Beginning
    result: Result

    def score(self, examples: Sequence[Any]) -> dict[str, float]:
        """What the task's metric says of the examples."""
        return evaluate(
            self.begun.model, examples, task=self.begun.task, batch_size=self.begun.recipe.training.eval_batch_size
        )

    def facts(self) -> dict[str, Any]:
        """What it took, as JSON."""
        counted = count_parameters(self.begun.model)
        return {
            "validation": self.result.metrics,
            "best_epoch": self.result.best_epoch,
            "steps": self.result.steps,
            "training_seconds": round(self.result.seconds, 2),
            "peak_memory_bytes": self.result.peak_memory,
            "trainable": counted.trainable,
            "total": counted.total,
        }

    def save(self, folder: Path) -> None:
        """The whole model with its tokenizer."""
        save_model(self.begun.model, folder, self.begun.tokenizer)


def recipe_named(name: str) -> dict[str, Any]:
    """The values of recipes/NAME.toml; NotHere where there is no checkout that has it."""
    path = CHECKOUT / "recipes" / f"{name}.toml"
    if not path.exists():
        raise NotHere(f"{path}: the recipes lie in a checkout, which this is not")
    return read_values(path)


def recipe_of(values: Mapping[str, Any], folder: Path) -> Recipe:
    """The checked recipe; InputError as of a recipe's file."""
    return make_recipe({**values, "out": str(folder)}, "an experiment's recipe")


def teach(
    values: Mapping[str, Any],
    folder: Path,
    listener: Listener | None = None,
    labels: int | None = None,
    chosen: int | None = None,
) -> Taught:
    """Carry out a recipe, or the rest of it, in `folder`.

    values   as TOML has it, without `out`
    labels   so many of the training examples, drawn by the training's seed; None = all
    chosen   so many of the validation examples, the same for every seed, by which the best epoch is; None = all

    NotHere where its data or weights are not at hand.
    """
    recipe = recipe_of(values, folder)
    begun = here(lambda: begin(recipe, anew=False))
    train = begun.data.taught
    if labels is not None:
        train = sample(begun.data.train, labels, recipe.training.seed)
    result = fit(
        begun.model,
        train,
        begun.data.validation if chosen is None else _drawn(begun.data.validation, chosen),
        task=begun.task,
        settings=begun.recipe.training,
        strategy=recipe.learns,
        folder=folder,
        listener=listener,
        resume=True,
        replay=begun.replay,
    )
    return Taught(begun, result)


def _drawn(validation: Sequence[Any] | None, most: int) -> Sequence[Any] | None:
    return validation and sample(validation, min(most, len(validation)), 0)
