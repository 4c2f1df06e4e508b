"""What an experiment is: statements of the guide, runs that put them to the test, and what is shown of them.

run ─► results, as JSON ─┬─► a verdict for each statement, by its rule
                         ├─► a paragraph
                         └─► pictures
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from minitl.errors import CheckpointError, DataError, MinitlError
from minitl.experiments.runs import Runs
from minitl.pages.claims import Claim, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = dict[str, Any]
T = TypeVar("T")


class NotHere(MinitlError):
    """Data or weights that an experiment needs are not at hand: it cannot be judged."""


@dataclass(frozen=True)
class Statement:
    """What the guide says, and how it is judged.

    says    in the guide's words, or close to them
    rule    by which the verdict is reached, in words
    judge   from the results to what was measured, in words, and the verdict by the rule
    """

    says: str
    rule: str
    judge: Callable[[Results], tuple[str, Verdict]]


@dataclass(frozen=True)
class Picture:
    """A figure of the results.

    name       of its file
    draw       from the results, and whether there is little width, to the figure; called within `drawing()`
    describe   what there is to see, for who does not see it
    """

    name: str
    caption: str
    draw: "Callable[[Results, bool], Figure]"
    describe: Callable[[Results], str]


@dataclass(frozen=True)
class Experiment:
    """A question and its answer.

    name      of its folder, and by which it is asked for
    section   of the guide that is put to the test
    run       carries out what is not yet done. Of the results, "model", "data" and "seeds" say in words, words and
              numbers what was run; the rest is the experiment's. NotHere where something it needs is not at hand
    tell      the results in a paragraph of plain text
    """

    name: str
    title: str
    section: str
    run: Callable[[Runs], Results]
    statements: tuple[Statement, ...]
    tell: Callable[[Results], str]
    pictures: tuple[Picture, ...]


def judged(experiment: Experiment, results: Results) -> list[Claim]:
    """A verdict for each statement, from results that are there."""
    claims = []
    for statement in experiment.statements:
        measured, verdict = statement.judge(results)
        claims.append(Claim(statement.says, measured, verdict, statement.rule))
    return claims


def not_judged(experiment: Experiment, why: str) -> list[Claim]:
    """No verdict without a run."""
    told = f"No result: {why}." if why else "Not run yet."
    return [Claim(one.says, told, Verdict.UNKNOWN, one.rule) for one in experiment.statements]


def here(load: Callable[[], T]) -> T:
    """What `load` loads; NotHere in place of its DataError or CheckpointError."""
    try:
        return load()
    except (DataError, CheckpointError) as error:
        raise NotHere(str(error)) from error
