"""What recipes reach that no peer's loop follows: `python -m benchmarks.recipes [NAME …]`.

    recipes/NAME.toml, options ─► a model ─ test split ─► before
                                     └ fit ─ test split ─► after   ─► results/studies/recipes.json

What was measured of other runs is kept. Those from random weights are cut short: they show that a recipe learns what it
is for, not how far it goes. `benchmarks.pages` makes a table of it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.protocol import RESULTS, ROOT, answered, circumstances
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.cli.main import main as minitl
from minitl.cli.options import FACTS
from minitl.training.recipe import read_recipe

RESULT = RESULTS / "studies" / "recipes.json"


@dataclass(frozen=True)
class Run:
    """One row.

    name      by which it is called and kept
    recipe    of recipes/, without its ending
    options   what --set is given
    needs     recipes that come before, each with its options; what they give stays in runs/
    """

    name: str
    recipe: str
    options: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    seeds: tuple[int, ...] = (0,)


def cut_short(steps: int) -> tuple[str, ...]:
    return (f"training.steps={steps}", f"training.evaluate_every={steps}")


TEACHER = ("sst2_teacher", *cut_short(600))
STUDENT = cut_short(600)
RUNS = (
    Run("STS-B vectors, English", "stsb_embeddings", seeds=(0, 1, 2)),
    Run("STS-B vectors, German", "stsb_embeddings", ("data.source=stsb-de",), seeds=(0, 1, 2)),
    Run("German positives among the others of a batch", "stsb_negatives", seeds=(0, 1, 2)),
    Run("ChemProt, LoRA and new tokens", "chemprot"),
    Run("half of a classifier, by labels alone", "sst2_half", STUDENT, seeds=(0, 1, 2)),
    Run("half of a classifier, with its teacher", "sst2_distilled", STUDENT, (TEACHER,), seeds=(0, 1, 2)),
    Run("German to English", "multi30k_de_en"),
    Run("chats in a sentence or two", "samsum"),
    Run("BERT from random weights", "novels_bert", cut_short(400)),
    Run("GPT-2 from random weights", "novels_gpt2", cut_short(400)),
    Run("instructions, from random weights", "t0_mix", cut_short(200)),
    Run("ELECTRA's generator", "electra_generator", cut_short(400)),
    Run("ELECTRA", "electra", cut_short(400), (("electra_generator", *cut_short(400)),)),
)


def prepare(needed: Sequence[str]) -> None:
    """Train what a run begins with, unless that is done."""
    recipe, *options = needed
    path = ROOT / "recipes" / f"{recipe}.toml"
    if (ROOT / read_recipe(path).out / FACTS).exists():
        return
    if minitl(["train", str(path), *(word for option in options for word in ("--set", option))]) != 0:
        raise SystemExit(f"{path} failed")


def measure(run: Run, seed: int) -> dict[str, Any]:
    """One training in a process of its own."""
    answer = answered("benchmarks.workers.taught", f"recipes/{run.recipe}.toml", str(seed), *run.options)
    print(run.name, seed, answer, flush=True)
    return answer | {"seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description="Train recipes of our own.")
    parser.add_argument("names", nargs="*", help="(default: all)")
    args = parser.parse_args()
    chosen = [run for run in RUNS if not args.names or run.name in args.names or run.recipe in args.names]
    if not chosen:
        parser.error(f"no run or recipe of these names; there are {', '.join(run.name for run in RUNS)}")
    rows = read_json(RESULT)["rows"] if RESULT.exists() else []
    for run in chosen:
        for needed in run.needs:
            prepare(needed)
        row = {
            **asdict(run),
            "task": read_recipe(ROOT / "recipes" / f"{run.recipe}.toml").task,
            "runs": [measure(run, seed) for seed in run.seeds],
            **circumstances(),
        }
        order = [one.name for one in RUNS]
        rows = sorted([*(r for r in rows if r["name"] != run.name), row], key=lambda r: order.index(str(r["name"])))
        write_json(RESULT, {"command": "python -m benchmarks.recipes", "rows": rows})
    print(RESULT)


if __name__ == "__main__":
    main()
