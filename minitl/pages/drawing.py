"""Plots for pages, and as pictures: matplotlib draws, the page colours.

A figure becomes an inline `<svg>` without fixed colours: matplotlib draws in placeholder colours, and `svg` replaces
them by the page's CSS variables, so that one drawing serves light and dark. Text stays text, in the page's font. As a
picture, `png`, it has the light page's colours.
"""

import contextlib
import html
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.checkpoints.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER, BAND = (f"minitl {name}" for name in ("ink", "muted", "rule", "paper", "band"))
COLOURS = tuple(f"minitl line {index}" for index in range(5))  # of lines
MARKERS = ("X", "s", "^", "D", "o")  # colour is never the only sign
_NAMES = (INK, MUTED, RULE, PAPER, BAND, *COLOURS)
_PLACEHOLDERS = {name: f"#0102{index:02x}" for index, name in enumerate(_NAMES)}
_SHOWN = ("ink", "muted", "rule", "panel", "band", *(f"line-{index}" for index in range(5)))
_VARIABLES = dict(zip(_PLACEHOLDERS.values(), _SHOWN, strict=True))
_LIGHT = dict(
    zip(
        _NAMES,
        ("#1b2027", "#586070", "#d9dde3", "#ffffff", "#e4e8ee", "#6f7680", "#2b7bba", "#12857a", "#bf5f10", "#a52a68"),
        strict=True,
    )
)
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


@contextlib.contextmanager
def drawing(picture: bool = False) -> Iterator[None]:
    """The context in which figures are made and rendered: for a page, or as a picture."""
    import matplotlib
    from matplotlib.colors import get_named_colors_mapping

    for name, colour in (_LIGHT if picture else _PLACEHOLDERS).items():
        get_named_colors_mapping()[name] = colour  # `update` would leave what matplotlib remembers of the other ones
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


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
    return re.sub(r"#0102[0-9a-f]{2}", lambda found: f"var(--{_VARIABLES[found.group()]})", svg)


def png(figure: "Figure", path: Path) -> None:
    """Write the figure as a picture, atomically. CheckpointError where that is not possible."""
    figure.patch.set_alpha(1)
    figure.patch.set_facecolor(PAPER)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=144, metadata={"Software": None})
