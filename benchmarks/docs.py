"""Put into the pages of docs/ on which lines a name stands: `python -m benchmarks.docs`.

    [`LowRank`](../minitl/adapters/layer.py)  ─►  [`LowRank`](../minitl/adapters/layer.py#L22-L41)

With --check nothing is written; the exit status is 1 where a page names other lines than the code has.
"""

import ast
import re
import sys
from pathlib import Path

from benchmarks.protocol import ROOT

DOCS = ROOT / "docs"
LINK = re.compile(r"\[`(?P<name>\w+)`\]\((?P<path>[^)#]+\.py)(#L\d+-L\d+)?\)")


def with_lines(page: str, folder: Path = DOCS) -> str:
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


def main() -> int:
    stale = False
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        wanted = with_lines(page)
        stale |= page != wanted
        if page != wanted and "--check" not in sys.argv[1:]:
            path.write_text(wanted, encoding="utf-8")
    return int(stale and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
