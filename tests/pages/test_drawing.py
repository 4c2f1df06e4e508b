"""Drawings have the page's colours on a page, and fixed ones in a picture, whichever was drawn before."""

import re
from pathlib import Path

from minitl.pages.drawing import COLOURS, INK, drawing, new_figure, png, svg


def drawn(path: Path | None = None) -> str:
    figure, axes = new_figure(False, (2, 1), (2, 1))
    axes.plot([0, 1], [0, 1], color=COLOURS[1])
    axes.set_title("a line", color=INK)
    if path is not None:
        png(figure, path)
    return "" if path is not None else svg(figure, "a-line", False, "a line")


def test_a_page_drawn_after_a_picture_follows_the_theme(tmp_path: Path) -> None:
    for _ in range(2):
        with drawing(picture=True):
            drawn(tmp_path / "line.png")
        with drawing():
            page = drawn()
        assert not re.findall(r"#[0-9a-f]{6}", page)
        assert {"var(--line-1)", "var(--ink)", "var(--muted)", "var(--rule)"} <= set(re.findall(r"var\([^)]*\)", page))
