"""The report of all experiments in one page: the table of claims, then each experiment with its figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from minitl.experiments.experiment import Experiment, Picture, Results
from minitl.pages.claims import Claim, Verdict, verdict_mark
from minitl.pages.document import document, masthead, plot, section, text
from minitl.pages.drawing import drawing, svg
from minitl.pages.formats import MISSING, plain, plural

TOLD = {
    Verdict.HOLDS: "hold",
    Verdict.IN_PART: "hold in part",
    Verdict.FAILS: "do not hold",
    Verdict.UNKNOWN: "cannot be judged here",
}
FOOTER = "Written by minitl from the results.json of each experiment, which lie beside this page."


@dataclass(frozen=True)
class Part:
    """An experiment as the page shows it; `results` None where it was not run."""

    experiment: Experiment
    results: Results | None
    claims: Sequence[Claim]
    run: Mapping[str, Any]


def render(parts: Sequence[Part], facts: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [section("results", "The guide’s claims, one by one", _table(parts))]
    sections += [section(part.experiment.name, text(part.experiment.title), _body(part)) for part in parts]
    style = resources.files("minitl.experiments").joinpath("page.css").read_text(encoding="utf-8")
    return document("The guide’s claims, measured", _masthead(parts, facts), sections, FOOTER, style)


def _masthead(parts: Sequence[Part], facts: Mapping[str, Any]) -> str:
    verdicts = Counter(claim.verdict for part in parts for claim in part.claims)
    counted = ", ".join(f"<b>{verdicts[verdict]}</b> {told}" for verdict, told in TOLD.items() if verdicts[verdict])
    run = [part for part in parts if part.results is not None]
    return masthead(
        "minitl · all experiments",
        "Transfer learning: what is claimed, what was measured",
        f"Of {plural(verdicts.total(), 'claim')}: {counted}.",
        [
            ("Experiments", f"{len(run)} of {len(parts)}", "with results"),
            ("Machine", facts.get("cpu", MISSING), plural(facts["cores"], "core") if "cores" in facts else ""),
            ("Written", facts.get("created", MISSING)[:10], facts.get("command", "")),
        ],
    )


def _table(parts: Sequence[Part]) -> str:
    rows = "".join(_row(part, number, claim) for part in parts for number, claim in enumerate(part.claims))
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("The guide says", "Run here", "Measured", "Verdict"))
    return f"""<div class="scroll" role="region" aria-label="Claims and verdicts" tabindex="0">
<table class="judged"><thead><tr>{heads}</tr></thead><tbody>
{rows}</tbody></table></div>
"""


def _row(part: Part, number: int, claim: Claim) -> str:
    """A claim; the first of an experiment says for all of them what was run."""
    one = part.experiment
    run = ""
    if number == 0:
        run = (
            f'<td rowspan="{len(part.claims)}"><a href="#{one.name}">{text(one.title)}</a>'
            f"<small>{text(ran(part.results))}</small></td>"
        )
    return (
        f'<tr><th scope="row">{text(claim.says)}<small>“{text(one.section)}”</small></th>'
        f"{run}<td>{text(claim.measured)}</td>"
        f"<td>{verdict_mark(claim.verdict)}<small>{text(claim.rule)}</small></td></tr>\n"
    )


def ran(results: Results | None) -> str:
    """Model, data and number of seeds of what was run."""
    if results is None:
        return MISSING
    return f"{results['model']}; {results['data']}; {plural(results['seeds'], 'seed')}"


def _body(part: Part) -> str:
    if part.results is None:
        return f"<p>{text(part.claims[0].measured)}</p>"
    figures = "".join(_figure(picture, part.results) for picture in part.experiment.pictures)
    where = f"{plain(part.run.get('command'))}, {part.run.get('created', MISSING)[:10]}, {part.run.get('cpu', MISSING)}"
    return (
        f"<p>{text(part.experiment.tell(part.results))}</p>{figures}"
        f'<p class="setup">{text(ran(part.results))}. {text(where)}.</p>'
    )


def _figure(picture: Picture, results: Results) -> str:
    label = picture.describe(results)
    with drawing():
        drawn = [
            (fit, svg(picture.draw(results, narrow), picture.name, narrow, label))
            for fit, narrow in (("wide", False), ("narrow", True))
        ]
    return plot(drawn, picture.caption)
