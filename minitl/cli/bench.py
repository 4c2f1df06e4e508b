"""`minitl bench`: run a comparison with the peers, or a measurement, of those under benchmarks/."""

import argparse
import ast
import re
import subprocess
import sys

COMMAND = re.compile(r":? `python -m [^`]+`\.?$")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "bench",
        help="compare speed, memory and accuracy with the peer libraries",
        description="Run one of the programs under benchmarks/, which write what they measure to benchmarks/results/. "
        "Those that compare need the peer libraries in an environment of their own: `make .venv-peers/.installed`.",
    )
    parser.add_argument("name", nargs="?", help="which (default: list them)")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="…", help="for that program, such as --help")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.manifest import CHECKOUT
    from minitl.errors import InputError, did_you_mean

    known = programs()
    if not known:
        raise InputError(f"{CHECKOUT / 'benchmarks'}: the benchmarks lie in a checkout, which this is not")
    if args.name is None:
        width = max(map(len, known))
        print("\n".join(f"{name:{width}}  {what}" for name, what in known.items()))
        return 0
    if args.name not in known:
        raise InputError(f"no benchmark is called {args.name!r}{did_you_mean(args.name, known)}")
    return subprocess.run([sys.executable, "-m", f"benchmarks.{args.name}", *args.words], cwd=CHECKOUT).returncode


def programs() -> dict[str, str]:
    """Every program under benchmarks/ with what it says of itself; none where this is no checkout."""
    from minitl.checkpoints.manifest import CHECKOUT

    found = {}
    for path in sorted((CHECKOUT / "benchmarks").glob("*.py")):
        says = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if f"python -m benchmarks.{path.stem}" in says:
            found[path.stem] = COMMAND.sub("", " ".join(says.split("\n\n")[0].split())).rstrip(".")
    return found
