"""A recipe's model before and after: `python -m benchmarks.workers.taught RECIPE SEED OPTION…`, options as for --set.

Prints one line of JSON: sizes of the splits, which of them was judged, and its scores before and after the training.
"""

import contextlib
import json
import sys
import tempfile
from dataclasses import replace

from minitl import fit
from minitl.training import evaluate
from minitl.training.beginning import begin
from minitl.training.recipe import read_recipe


def main() -> None:
    path, seed, *options = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        recipe = read_recipe(path, [f"training.seed={seed}", *options])
        begun = begin(replace(recipe, out=folder))
        data, model, task, settings = begun.data, begun.model, begun.task, begun.recipe.training
        split = "test" if data.test else "validation"
        judged = getattr(data, split)
        before = evaluate(model, judged, task=task, batch_size=settings.eval_batch_size)
        fit(model, data.taught, data.validation, task=task, settings=settings, strategy=recipe.learns)
        after = evaluate(model, judged, task=task, batch_size=settings.eval_batch_size)
    sizes = [len(data.train), len(data.validation), len(data.test)]
    print(json.dumps({"sizes": sizes, "split": split, "before": before, "after": after}))


if __name__ == "__main__":
    main()
