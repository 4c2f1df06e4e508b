"""Plots for pages: matplotlib draws, the page colours.

A figure becomes an inline `<svg>` without fixed colours: matplotlib draws in placeholder colours, and `svg` replaces
them by the page's CSS variables, so that one drawing serves light and dark. Text stays text, in the page's font.
"""

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER, BAND = "#010203", "#010204", "#010205", "#010206", "#010207"
COLOURS = ("#010210", "#010211", "#010212", "#010213", "#010214")  # of lines
MARKERS = ("X", "s", "^", "D", "o")  # colour is never the only sign
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--panel", BAND: "--band"} | {
    colour: f"--line-{index}" for index, colour in enumerate(COLOURS)
}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "xtick.major.pad": 7,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
}


def drawing() -> Any:
    """The context in which figures are made: `with drawing(): …`."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]


def new_figure(narrow: bool, wide: tuple[float, float], small: tuple[float, float]) -> "tuple[Figure, Axes]":
    """A figure outside pyplot, in inches at 72 units each, as SVG counts them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=small if narrow else wide, layout="constrained")
    figure.patch.set_alpha(0)
    return figure, figure.add_subplot()


def svg(figure: "Figure", name: str, narrow: bool, label: str) -> str:
    """Render to an `<svg>` element that is safe beside others in one page: its ids carry the figure's name.

    label   what there is to see, for who does not see it
    """
    import matplotlib

    drawn = io.StringIO()
    prefix = f"{name}-{'narrow' if narrow else 'wide'}"
    with matplotlib.rc_context({"svg.hashsalt": prefix}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has its own fonts
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib writes one
    opening = f'<svg {box.group()} role="img" aria-label="{html.escape(label)}">'
    return _themed(re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)).strip()


def _themed(svg: str) -> str:
    return re.sub(r"#0102[0-9a-f]{2}", lambda found: f"var({_VARIABLES[found.group()]})", svg)
