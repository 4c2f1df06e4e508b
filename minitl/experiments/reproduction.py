"""All experiments, one after another, and the report of what the guide claims beside what was measured.

FOLDER/NAME/runs/           what is done of an experiment, see `Runs`
FOLDER/NAME/results.json    its results and verdicts, FOLDER/NAME/*.png its pictures
FOLDER/report.html          the claims of every experiment that has results, or why there are none
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minitl.checkpoints.atomic import check_writable, write_json, write_text
from minitl.checkpoints.weights import read_json
from minitl.errors import Diverged, InputError, did_you_mean
from minitl.experiments.experiment import Experiment, NotHere, judged, not_judged
from minitl.experiments.page import Part, render
from minitl.experiments.runs import Listen, Runs, unheard
from minitl.experiments.sharing import share
from minitl.experiments.table import EXPERIMENTS
from minitl.pages.claims import Claim
from minitl.pages.drawing import drawing, png
from minitl.pages.machine import run_facts

RESULTS = "results.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Outcome:
    """Of one experiment: its verdicts, and why it has no results where it has none."""

    experiment: Experiment
    claims: list[Claim]
    why: str = ""


def experiments_named(names: Sequence[str] | None) -> list[Experiment]:
    """Those of these names in the order of the guide, all for None; InputError for a name that is not known."""
    known = {one.name: one for one in EXPERIMENTS}
    for name in names or ():
        if name not in known:
            raise InputError(f"no experiment {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return [one for one in EXPERIMENTS if names is None or one.name in names]


def reproduce_all(
    experiments: Iterable[Experiment],
    folder: Path,
    command: Sequence[str],
    listen: Listen = unheard,
    say: Callable[[str], None] = unheard,
    jobs: int = 1,
) -> list[Outcome]:
    """Carry out experiments, or what is left of them; write their results, and the report of all that have some. One
    whose data is not here, or a training of which diverges, has none, and the others go on. With several `jobs`,
    so many runs are carried out at a time, see `sharing`.

    Raises CheckpointError where nothing can be written, Interrupted where it was stopped; what is done is kept.
    """
    experiments = list(experiments)
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, got {jobs}")
    check_writable(folder)
    if jobs > 1:
        share(experiments, folder, jobs, say)
    outcomes = []
    for one in experiments:
        say(f"{one.name}: {one.title}")
        outcomes.append(_carry_out(one, folder / one.name, command, listen))
        write_report(folder, command, {out.experiment.name: out.why for out in outcomes if out.why})
    return outcomes


def _carry_out(experiment: Experiment, folder: Path, command: Sequence[str], listen: Listen) -> Outcome:
    try:
        results = experiment.run(Runs(folder, listen))
    except (NotHere, Diverged) as error:
        return Outcome(experiment, not_judged(experiment, str(error)), str(error))
    claims = judged(experiment, results)
    kept = {
        "name": experiment.name,
        "title": experiment.title,
        "section": experiment.section,
        "claims": [asdict(claim) for claim in claims],
        "paragraph": experiment.tell(results),
        "results": results,
        "run": run_facts(command),
    }
    write_json(folder / RESULTS, kept)
    with drawing(picture=True):
        for picture in experiment.pictures:
            png(picture.draw(results, False), folder / f"{picture.name}.png")
    return Outcome(experiment, claims)


def write_report(folder: Path, command: Sequence[str], absent: dict[str, str]) -> Path:
    """The report of every experiment that has results in `folder`; `absent` says of others why they have none."""
    parts = [_part(one, folder / one.name / RESULTS, absent.get(one.name, "")) for one in EXPERIMENTS]
    write_text(folder / REPORT, render(parts, run_facts(command)))
    return folder / REPORT


def _part(experiment: Experiment, path: Path, why: str) -> Part:
    if not path.exists():
        return Part(experiment, None, not_judged(experiment, why), {})
    kept: dict[str, Any] = read_json(path)
    return Part(experiment, kept["results"], judged(experiment, kept["results"]), kept["run"])
