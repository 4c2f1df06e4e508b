"""The guide's claims, for the README: `python -m benchmarks.reproduction [EXPERIMENT …]`

    minitl reproduce --all ─► runs/all ─► results/reproduction/NAME.json, NAME-*.png, report.html
                            ◄──────────► results/reproduction/single/NAME.json, what each single run gave

The same as `minitl reproduce --all --out runs`, or `--only` some, kept where the README finds it. Interrupted, it goes
on when called again, in another checkout too: what single runs gave is kept with the results and not measured twice. A
change of what they would give is the reason to remove it.
"""

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.protocol import RESULTS, ROOT, say
from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.errors import Interrupted
from minitl.experiments.page import ran
from minitl.experiments.reproduction import REPORT, experiments_named, reproduce_all
from minitl.experiments.reproduction import RESULTS as RECORD
from minitl.experiments.table import EXPERIMENTS
from minitl.nn.device import models_on

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
        kept = read_json(path)
        shown = ran(kept["results"])
        for claim in kept["claims"]:
            cells = [claim["says"], shown, claim["measured"], f"**{claim['verdict']}**"]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
            shown = "as above"
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


def gather(names: list[str]) -> None:
    """Keep what each single run of these experiments gave; models and states that they made are not kept."""
    (KEPT / "single").mkdir(parents=True, exist_ok=True)
    for name in names:
        done = {path.stem: read_json(path) for path in sorted((RUNS / name / "runs").glob("*.json"))}
        if done:
            write_json(KEPT / "single" / f"{name}.json", done)


def give_back(names: list[str]) -> None:
    """Put what single runs gave where the experiments look for it, unless they were run here; and the results of every
    experiment, so that the report tells of those that were run in other checkouts, too."""
    for kept in KEPT.glob("*.json"):
        (RUNS / kept.stem).mkdir(parents=True, exist_ok=True)
        if not (RUNS / kept.stem / RECORD).exists():
            shutil.copyfile(kept, RUNS / kept.stem / RECORD)
    for name in names:
        kept = KEPT / "single" / f"{name}.json"
        for key, done in (read_json(kept) if kept.exists() else {}).items():
            path = RUNS / name / "runs" / f"{key}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_json(path, done)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduction", description="Run the experiments.")
    parser.add_argument("names", nargs="*", help="(default: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="carry out N runs at a time (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    args = parser.parse_args()
    chosen = experiments_named(args.names or None)
    names = [one.name for one in chosen]
    give_back(names)
    command = ["python", "-m", "benchmarks.reproduction", *sys.argv[1:]]
    try:
        with models_on(args.device):
            outcomes = reproduce_all(chosen, RUNS, command, say=say, jobs=args.jobs)
    except Interrupted as stopped:
        raise SystemExit(f"{stopped}. The same command goes on.") from stopped
    finally:
        gather(names)
    for outcome in outcomes:
        if outcome.why:
            print(f"{outcome.experiment.name}: {outcome.why}")
    keep([outcome.experiment.name for outcome in outcomes if not outcome.why])
    print(KEPT)


if __name__ == "__main__":
    main()
