"""Drawings for pages and as pictures, one after the other."""

import re
from pathlib import Path

from minitl.pages.drawing import COLOURS, drawing, new_figure, png, svg


def test_a_page_after_a_picture_takes_its_colours_from_the_theme(tmp_path: Path):
    def drawn():
        figure, axes = new_figure(False, wide=(2, 2), small=(1, 1))
        axes.plot([0, 1], [0, 1], color=COLOURS[1])
        return figure

    with drawing(picture=True):
        png(drawn(), tmp_path / "picture.png")
    with drawing():
        text = svg(drawn(), "line", False, "a line")
    assert "var(--line-1)" in text
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= {"#000000", "#ffffff"}  # matplotlib's own defaults, never seen
