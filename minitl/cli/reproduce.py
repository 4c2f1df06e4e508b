"""`minitl reproduce`: the study, its progress, its table and its report."""

import argparse
import contextlib
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.cli.options import add_device, command_to_go_on, quietly
from minitl.cli.progress import Bars
from minitl.errors import InputError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minitl.experiments.study.run import Run
    from minitl.training.log import Listener


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "reproduce",
        help="run the transfer-learning study and write its report",
        description="Train one classifier five ways (random initialisation, frozen features, gradual unfreezing, LoRA, "
        "full fine-tuning), compare them in a table, and write runs/NAME/report.html.",
    )
    parser.add_argument(
        "--data",
        default="embedded",
        help="a data set: a name, a file or folder, a hub id (default: the embedded reviews)",
    )
    parser.add_argument("--model", help="a checkpoint folder or hub id (default: all-MiniLM-L6-v2 from its package)")
    parser.add_argument(
        "--name",
        help="the study's folder under --out (default: demo or the data set's name, -quick added to it with --quick)",
    )
    parser.add_argument("--labels", type=int, help="training examples (default: 1000, or all where there are fewer)")
    parser.add_argument(
        "--curve", type=int, nargs="*", metavar="N", help="smaller numbers of labels for the curve (default: 50 200)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of each arm per seed (default: 0)")
    parser.add_argument("--arms", nargs="+", help="only these of: scratch frozen gradual lora full")
    parser.add_argument("--search", action="store_true", help="choose each arm's rate among three on validation data")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of matrix products in training; auto = bfloat16 where the processor has it (default: auto)",
    )
    parser.add_argument("--quick", action="store_true", help="a check in a minute or two: 200 labels, no curve")
    parser.add_argument(
        "--restart", action="store_true", help="begin anew instead of going on with an unfinished study"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where studies are kept (default: runs)")
    add_device(parser)
    several = parser.add_argument_group("the guide's claims, one by one")
    several.add_argument(
        "--all", action="store_true", help="carry out every experiment, or what is left of them; hours"
    )
    several.add_argument("--only", nargs="+", metavar="EXPERIMENT", help="these experiments alone; --list names them")
    several.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="carry out N runs at a time, each in a process (default: 1)"
    )
    several.add_argument("--list", action="store_true", help="name the experiments and what each puts to the test")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.list:
        return _list()
    return _run_experiments(args) if args.all or args.only else _run_study(args)


def _list() -> int:
    from minitl.experiments.table import EXPERIMENTS

    for one in EXPERIMENTS:
        print(f"{one.name:<12} {one.title}")
        for statement in one.statements:
            print(f"{'':<12}   {statement.says}")
    return 0


def _run_experiments(args: argparse.Namespace) -> int:
    from rich.console import Console

    from minitl.experiments.reproduction import REPORT, experiments_named, reproduce_all

    if args.all and args.only:
        raise InputError("--all carries out every experiment, --only some of them: one of the two")
    folder = args.out / (args.name or "all")
    console = Console()

    def say(words: str) -> None:
        console.print(words, highlight=False, markup=False, soft_wrap=True)

    with _kept_on_interruption(), Bars(console) as bars, quietly():
        chosen, command = experiments_named(args.only), ["minitl", *sys.argv[1:]]
        outcomes = reproduce_all(chosen, folder, command, bars.training, say, args.jobs)
    for outcome in outcomes:
        if outcome.why:
            say(f"{outcome.experiment.name} cannot be judged here: {outcome.why}")
        for claim in [] if outcome.why else outcome.claims:
            say(f"{claim.verdict.value}: {claim.says} {claim.measured}")
    say(f"Report: {folder / REPORT}")
    return 0


@contextlib.contextmanager
def _kept_on_interruption() -> "Iterator[None]":
    """Says, of work that is stopped, how it goes on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        signum = error.signum if isinstance(error, Interrupted) else signal.SIGINT
        what = str(error) if isinstance(error, Interrupted) else "stopped"
        raise Interrupted(f"{what}. Finished runs are kept; go on with: {command_to_go_on()}", signum) from error


def _run_study(args: argparse.Namespace) -> int:
    from rich.console import Console

    from minitl.experiments.study.reproduce import Request, reproduce
    from minitl.experiments.study.terminal import print_table

    name = "demo" if args.data == "embedded" else Path(args.data).stem
    request = Request(
        name=args.name or (f"{name}-quick" if args.quick else name),
        data=args.data,
        source=args.model,
        labels=200 if args.quick and args.labels is None else args.labels,
        curve=[] if args.quick and args.curve is None else args.curve,
        seeds=args.seeds,
        arms=args.arms,
        search=args.search,
        precision=args.precision,
        restart=args.restart,
        out=args.out,
        command=shlex.join(["minitl", *sys.argv[1:]]),
    )
    console = Console()
    with _kept_on_interruption(), Bars(console) as bars, quietly():
        titles = _Titles(bars)
        results, folder = reproduce(request, titles)
    console.print()
    if not titles.runs:
        console.print(f"finished on {results['created'][:10]}; --restart begins anew", highlight=False, soft_wrap=True)
    print_table(results, console, folder / "report.html")
    return 0


class _Titles:
    """Names each training of the study for its bar."""

    def __init__(self, bars: Bars) -> None:
        self._bars, self.runs = bars, 0

    def run(self, run: "Run", number: int, of: int, searching: bool) -> "Listener":
        self.runs += 1
        what = f"rate {run.arm.learning_rate:g}" if searching else f"seed {run.seed}"
        return self._bars.training(f"{number:>3}/{of} {run.arm.name:<8} {run.labels:>5} labels  {what}")
