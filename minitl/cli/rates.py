"""`minitl train --max-lr-find`: raise the learning rate, show the loss as it comes, and say what to make of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from minitl.errors import Interrupted

if TYPE_CHECKING:
    from minitl.training.range_test import RangeTest
    from minitl.training.recipe import Recipe

EVERY = 5  # steps between two lines
WIDTH, WIDEST = 10, 60  # of the bar of the first loss, and of any


def find_rate(recipe: "Recipe") -> None:
    """Write OUT/learning_rates.csv, and print what it says; also of a part, where Ctrl-C or SIGTERM ends the test."""
    from minitl.training import range_test
    from minitl.training.beginning import begin
    from minitl.training.interrupt import stop_between_steps

    begun = begin(recipe)
    path = Path(recipe.out) / "learning_rates.csv"
    print("rate      loss", flush=True)
    with stop_between_steps() as stop:

        def hear(found: "RangeTest") -> None:
            if len(found.rates) % EVERY == 1:
                print(_row(found), flush=True)
            if stop.signum is not None:
                found.write(path)
                raise Interrupted(f"stopped after {len(found.rates)} steps, which are in {path}", stop.signum)

        settings, strategy = begun.recipe.training, begun.recipe.learns
        found = range_test(
            begun.model, begun.data.taught, task=begun.task, settings=settings, strategy=strategy, listener=hear
        )
    found.write(path)
    print(_said(found))
    print(f"every step is in {path}")


def _row(found: "RangeTest") -> str:
    rate, loss = found.rates[-1], found.smoothed[-1]
    length = round(WIDTH * loss / found.smoothed[0]) if found.smoothed[0] > 0 else 0
    return f"{rate:.1e}  {loss:8.4f}  {'█' * min(max(1, length), WIDEST)}"


def _said(found: "RangeTest") -> str:
    if not found.falls:
        return "the loss falls at no rate by more than it varies anyhow: there is none to recommend"
    return f"the loss falls fastest at {found.fastest:.1e}: a peak to try; it is lowest at {found.lowest:.1e}, too high"
