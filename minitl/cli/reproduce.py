"""`minitl reproduce`: the study, its progress, its table and its report."""

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.cli.options import command_to_go_on, quietly
from minitl.cli.progress import Bars
from minitl.errors import Interrupted

if TYPE_CHECKING:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
    try:
        with Bars(console) as bars, quietly():
            titles = _Titles(bars)
            results, folder = reproduce(request, titles)
    except (Interrupted, KeyboardInterrupt) as error:
        signum = error.signum if isinstance(error, Interrupted) else signal.SIGINT
        what = str(error) if isinstance(error, Interrupted) else "stopped"
        raise Interrupted(f"{what}. Finished runs are kept; go on with: {command_to_go_on()}", signum) from error
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
