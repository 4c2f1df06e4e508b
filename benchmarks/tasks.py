"""Every recipe, trained by this library's loop and by the peers': `python -m benchmarks.tasks [RECIPE …]`.

    recipes/*.toml ─► the same tokens, rates, batches, epochs and metric, in turns ─► results/studies/tasks.json

What was measured of other recipes is kept. `benchmarks.pages` makes a table of it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.protocol import RESULTS, ROOT, answered, circumstances, peers_python
from benchmarks.workers.teach import CLASSES
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.training.recipe import Recipe, read_recipe

RESULT = RESULTS / "studies" / "tasks.json"
PEER = "transformers"


def teach(path: Path, seed: int, side: str) -> dict[str, Any]:
    """One run in an environment of its own."""
    python = peers_python() if side == PEER else sys.executable
    answer = answered("benchmarks.workers.teach", str(path), str(seed), side, python=python)
    print(path.stem, seed, side, answer, flush=True)
    return answer | {"seed": seed}


def compare_recipe(path: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """All runs of a recipe, the sides in turns."""
    recipe: Recipe = read_recipe(path)
    data = recipe.kind.load(recipe.data)
    runs: dict[str, list[dict[str, Any]]] = {"minitl": [], PEER: []}
    for seed in seeds:
        for side, taken in runs.items():
            taken.append(teach(path, seed, side))
    return {
        "recipe": str(path.relative_to(ROOT)),
        "task": recipe.task,
        "data": recipe.data.source,
        "sizes": [len(data.train), len(data.validation), len(data.test)],
        "model": recipe.model.source,
        "precision": recipe.training.on(recipe.model.device).autocast,
        **circumstances(peers_python()),
        "sides": runs,
    }


def comparable(paths: Sequence[Path]) -> list[Path]:
    """The recipes whose peer's side is written: a head that the worker knows, on examples that it knows, no teacher."""
    recipes = {path: read_recipe(path) for path in paths}
    return [
        path
        for path, recipe in recipes.items()
        if recipe.kind.head in CLASSES and recipe.task != "reward" and recipe.distillation is None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description="Train recipes by both loops.")
    parser.add_argument("recipes", nargs="*", help="(default: those of recipes/ that the peer can follow)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    chosen = [ROOT / name for name in args.recipes] or comparable(sorted((ROOT / "recipes").glob("*.toml")))
    rows = read_json(RESULT)["rows"] if RESULT.exists() else []
    for path in chosen:
        row = compare_recipe(path, args.seeds)
        rows = sorted([*(r for r in rows if r["recipe"] != row["recipe"]), row], key=lambda r: str(r["recipe"]))
        write_json(RESULT, {"command": "python -m benchmarks.tasks", "rows": rows})
    print(RESULT)


if __name__ == "__main__":
    main()
