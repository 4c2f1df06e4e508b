"""On which lines of a file a name stands that a page links.

[`LowRank`](../minitl/adapters/layer.py)  ─►  [`LowRank`](../minitl/adapters/layer.py#L22-L41)
"""

import ast
import re
from pathlib import Path

LINK = re.compile(r"\[`(?P<name>\w+)`\]\((?P<path>[^)#]+\.py)(#L\d+-L\d+)?\)")


def with_lines(page: str, folder: Path) -> str:
    """`page` with the lines of every class and function that it links by its name; KeyError where there is none."""

    def place(found: re.Match[str]) -> str:
        name, path = found["name"], found["path"]
        first, last = definitions(folder / path)[name]
        return f"[`{name}`]({path}#L{first}-L{last})"

    return LINK.sub(place, page)


def definitions(path: Path) -> dict[str, tuple[int, int]]:
    """First and last line of each class and function of a file, decorators included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: (min([node.lineno, *(one.lineno for one in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
