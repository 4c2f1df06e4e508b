"""`python -m benchmarks.pages`: write what is measured, and where the code stands, into README.md and docs/.

With --check nothing is written; the exit status is 1 where a page says something else.
"""

import sys

from benchmarks.pages.filling import filled
from benchmarks.pages.lines import with_lines
from benchmarks.protocol import ROOT


def main() -> int:
    stale = False
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.read_text(encoding="utf-8")
        wanted = with_lines(filled(page, path.parent), path.parent)
        if page != wanted and "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is stale")
            stale = True
        elif page != wanted:
            path.write_text(wanted, encoding="utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
