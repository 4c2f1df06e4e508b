"""A page in one file: its shell, and the pieces that go into it. No scripts, and no request to anywhere.

Every text passes through `text`, every number through `value`.
"""

import html
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from minitl.pages.formats import MISSING, plain, printable, with_spread


def document(title: str, masthead: str, sections: Iterable[str], footer: str, style: str = "") -> str:
    """The whole page; `style` is CSS beyond the common one."""
    common = resources.files("minitl.pages").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<link rel="icon" href="data:,">
<style>
{common}{style}</style>
</head>
<body>
<a class="skip" href="#results">Skip to the results</a>
{masthead}
<main>
{"".join(sections)}</main>
<footer><p>{text(footer)}</p></footer>
</body>
</html>
"""


def masthead(eyebrow: str, title: str, headline: str, facts: Iterable[tuple[str, object, object]]) -> str:
    """The head of a page. `eyebrow` and `headline` are HTML; facts are (label, value, detail)."""
    cells = "".join(
        f"<div><dt>{label}</dt><dd>{text(shown)}<small>{text(detail)}</small></dd></div>"
        for label, shown, detail in facts
    )
    return f"""<header class="masthead">
<p class="eyebrow">{eyebrow}</p>
<h1>{text(title)}</h1>
<p class="headline">{headline}</p>
<dl class="facts">{cells}</dl>
</header>
"""


def section(name: str, title: str, body: str) -> str:
    """A titled section, or nothing when there is nothing to put there."""
    if not body:
        return ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{title}</h2>\n{body}</section>\n'
    )


def plot(drawings: Iterable[tuple[str, str]], caption: str, legend: str = "") -> str:
    """Drawings (class, svg), of which the page shows the one that fits, under one caption."""
    shown = "".join(f'<div class="{fit}">{drawn}</div>' for fit, drawn in drawings)
    return f'<figure class="plot">{legend}{shown}<figcaption>{text(caption)}</figcaption></figure>'


def definitions(values: Mapping[str, Any]) -> str:
    """Settings and their values."""
    pairs = "".join(
        f"<div><dt>{text(key.replace('_', ' '))}</dt><dd>{text(plain(value))}</dd></div>"
        for key, value in values.items()
    )
    return f"<dl>{pairs}</dl>"


def value(number: float, shown: str) -> str:
    """A number as it is shown, with its exact value for programs that read the page."""
    if not math.isfinite(number):
        return MISSING
    return f'<data value="{number!r}">{html.escape(shown)}</data>'


def spread_values(mean: float, spread: float) -> str:
    """A share in percent and its standard deviation, both as values."""
    shown = value(mean, with_spread(mean, math.nan))
    return f"{shown} ± {value(spread, f'{spread * 100:.1f}')}" if math.isfinite(spread) else shown


def text(words: object) -> str:
    """Anything as text of a page."""
    return html.escape(printable(words))
