"""What is claimed, beside what was measured, and the verdict that code reached by a stated rule."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from minitl.pages.document import text


class Verdict(StrEnum):
    HOLDS = "holds"
    IN_PART = "holds in part"
    FAILS = "does not hold"
    UNKNOWN = "cannot be judged from this run"


@dataclass(frozen=True)
class Claim:
    """What is said, what was measured, the verdict, and the rule by which it was reached; plain text."""

    says: str
    measured: str
    verdict: Verdict
    rule: str


def all_or_some(cases: Iterable[bool]) -> Verdict:
    """Holds where every case does, in part where some do; of no case nothing can be said."""
    held = list(cases)
    if not held:
        return Verdict.UNKNOWN
    return Verdict.HOLDS if all(held) else Verdict.IN_PART if any(held) else Verdict.FAILS


_SIGNS = {Verdict.HOLDS: "✓", Verdict.IN_PART: "◐", Verdict.FAILS: "✗", Verdict.UNKNOWN: "?"}
_CLASSES = {Verdict.HOLDS: "holds", Verdict.IN_PART: "part", Verdict.FAILS: "fails", Verdict.UNKNOWN: "unknown"}


def verdict_mark(verdict: Verdict) -> str:
    """A verdict as a coloured word with its sign."""
    return (
        f'<p class="verdict {_CLASSES[verdict]}"><span aria-hidden="true">{_SIGNS[verdict]}</span>\n{verdict.value}</p>'
    )


def claim_list(claims: Iterable[Claim]) -> str:
    """The claims as a list for a page; a rule that several have one after the other is told once."""
    items, told = "", ""
    for claim in claims:
        rule = "" if claim.rule == told else f'\n<p class="rule"><b>Rule</b> {text(claim.rule)}</p>'
        items += f"""<li>{verdict_mark(claim.verdict)}
<div><h3>{text(claim.says)}</h3>
<p><b>Measured</b> {text(claim.measured)}</p>{rule}</div></li>
"""
        told = claim.rule
    return f'<ol class="claims">{items}</ol>\n'
