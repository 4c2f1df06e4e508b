"""The guide's claims, for the README: `python -m benchmarks.reproduction [EXPERIMENT …]`

    minitl reproduce --all ─► runs/all ─► results/reproduction/NAME.json, NAME-*.png, report.html

The same as `minitl reproduce --all --out runs`, or `--only` some, kept where the README finds it. Interrupted, it goes
on when called again.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.protocol import RESULTS, ROOT
from minitl.experiments.reproduction import REPORT, experiments_named, reproduce_all
from minitl.experiments.reproduction import RESULTS as RECORD
from minitl.experiments.table import EXPERIMENTS
from minitl.pages.formats import plural

KEPT = RESULTS / "reproduction"
RUNS = ROOT / "runs" / "all"


def markdown(folder: Path = KEPT) -> str:
    """Every claim in the order of the guide, with what was run, what was measured and the verdict."""
    lines = ["| the guide says | run here | measured | verdict |", "|---|---|---|---|"]
    absent = []
    for one in EXPERIMENTS:
        path = folder / f"{one.name}.json"
        if not path.exists():
            absent.append(one.title)
            continue
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        results = kept["results"]
        ran = f"{results['model']}; {results['data']}; {plural(results['seeds'], 'seed')}"
        for claim in kept["claims"]:
            cells = [claim["says"], ran, claim["measured"], f"**{claim['verdict']}**"]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    if absent:
        lines += ["", f"Not run yet: {'; '.join(absent)}."]
    return "\n".join([*lines, ""])


def keep(names: list[str]) -> None:
    """Copy the results and pictures of these experiments, and the report, from the runs."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(RUNS / name / RECORD, KEPT / f"{name}.json")
        for picture in (RUNS / name).glob("*.png"):
            shutil.copyfile(picture, KEPT / f"{name}-{picture.name}")
    shutil.copyfile(RUNS / REPORT, KEPT / REPORT)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduction", description="Run the experiments.")
    parser.add_argument("names", nargs="*", help="(default: all)")
    args = parser.parse_args()
    chosen = experiments_named(args.names or None)
    outcomes = reproduce_all(chosen, RUNS, ["python", "-m", "benchmarks.reproduction", *args.names], say=_say)
    for outcome in outcomes:
        if outcome.why:
            print(f"{outcome.experiment.name}: {outcome.why}")
    keep([outcome.experiment.name for outcome in outcomes if not outcome.why])
    print(KEPT)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
