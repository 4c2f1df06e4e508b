"""`minitl probe`: what each layer of a model knows."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.cli.options import add_device, called_as, read_model

if TYPE_CHECKING:
    from minitl.models.base import Model
    from minitl.probing.probe import Report
    from minitl.tokenization import Tokenizer

VECTORS = "vectors"  # of OUT: what an interrupted run goes on with; a finished one has no use for it


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from minitl.probing.tasks import TASKS

    told = "; ".join(f"{name}: {entry.about.line}" for name, entry in TASKS.items())
    parser = verbs.add_parser(
        "probe",
        help="measure what each layer of a model knows",
        description="Train small classifiers on the frozen vectors of every layer, beside a random twin of the model "
        "and control tasks, and write probe.html, probe.json and pictures. Layers are counted from 1, and 0 is the "
        f"embeddings: layer 1 is what `minitl inspect` and minitl.trace call layers.0. The tasks: {told}.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id, or what `minitl train` wrote")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="(default: those that a usual study has)")
    parser.add_argument("--data", help="a treebank, tagged sentences or a table, for all tasks (default: each its own)")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the report")
    parser.add_argument("--sentences", type=int, default=2000, metavar="N", help="to train on (default: 2000)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="probes of each layer (default: 3)")
    parser.add_argument("--probe", default="linear", help="linear, mlp or span (default: linear)")
    parser.add_argument(
        "--layers", type=int, nargs="+", metavar="L", help="0 = embeddings, 1 = the first layer (default: all)"
    )
    parser.add_argument("--side", choices=("encoder", "decoder"), help="of an encoder-decoder (default: encoder)")
    parser.add_argument("--words", choices=("mean", "first", "last"), default="mean", help="tokens of a word (mean)")
    parser.add_argument("--before", metavar="MODEL", help="the same before fine-tuning: which layers changed")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out, and count, texts too long to read")
    parser.add_argument(
        "--cache",
        type=Path,
        help="keep the vectors here (default: OUT/vectors, until the report is there)",
    )
    parser.add_argument("--no-twin", action="store_true", help="probe no random twin")
    parser.add_argument("--no-code", action="store_true", help="measure no code lengths")
    parser.add_argument("--no-mix", action="store_true", help="train no mixes of layers")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.atomic import check_writable
    from minitl.errors import InputError
    from minitl.pages.machine import run_facts
    from minitl.probing.page import write_report
    from minitl.probing.probe import DEFAULT_TASKS, Settings, probe
    from minitl.probing.tasks import TASKS

    check_writable(args.out)
    settings = Settings(
        probe=args.probe,
        seeds=args.seeds,
        layers=None if args.layers is None else tuple(args.layers),
        side=args.side,
        words=args.words,
        unreadable="skip" if args.skip_unreadable else "error",
        twin=not args.no_twin,
        mix=not args.no_mix,
        code=not args.no_code,
        cache=args.cache or args.out / VECTORS,
    )
    model, tokenizer, _ = read_model(args.model)
    before = None if args.before is None else _read_before(args.before, tokenizer)
    if args.data is not None and args.tasks is None:
        raise InputError(f"--data {args.data}: say with --tasks what to ask of it: {', '.join(TASKS)}")
    tasks = args.tasks or DEFAULT_TASKS
    report = probe(
        model, tokenizer, args.data, tasks, sentences=args.sentences, before=before, settings=settings,
        progress=lambda words: print(words, file=sys.stderr, flush=True),
    )  # fmt: skip
    page = write_report(report, args.out, run_facts([*called_as(), *sys.argv[1:]]))
    if args.cache is None:
        shutil.rmtree(args.out / VECTORS)
    _print(report)
    if report.alike is not None:
        _print_changes(report)
    print(page)
    return 0


def _read_before(source: str, tokenizer: "Tokenizer") -> "Model":
    """InputError: other tokens have these numbers there, so that it would read other words than the model does."""
    from minitl.errors import InputError

    model, its_own, _ = read_model(source)
    if not its_own.is_part_of(tokenizer):
        raise InputError(f"--before {source}: its tokenizer is not the model's: name what that was fine-tuned from")
    return model


def _print(report: "Report") -> None:
    """Scores by task and layer, the best in bold."""
    from rich.console import Console
    from rich.table import Table

    from minitl.probing.profile import profile_of, shown_metric, shown_scores

    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    table.add_column("metric", style="dim")
    for layer in report.found[0].curve.layers:
        table.add_column("emb" if layer == 0 else str(layer), justify="right")
    for found in report.found:
        best = profile_of(found).best
        scores = zip(found.curve.layers, shown_scores(found.curve), strict=True)
        cells = [
            f"[bold]{one.mean * 100:.1f}[/]" if layer == best else f"{one.mean * 100:.1f}" for layer, one in scores
        ]
        table.add_row(found.task.title, shown_metric(found.curve), *cells)
    Console().print(table)


def _print_changes(report: "Report") -> None:
    """How like each layer is to the one before, and what each task gained there, in points with the 95% interval."""
    from rich.console import Console
    from rich.table import Table

    from minitl.probing.profile import signed_interval

    assert report.alike is not None
    changed = [found for found in report.found if found.gain is not None]
    table = Table(box=None, pad_edge=False, title=f"since {report.before}", title_justify="left")
    for name in ("layer", "likeness", *(found.task.title for found in changed)):
        table.add_column(name, justify="right")
    for row, (layer, alike) in enumerate(zip(report.found[0].curve.layers, report.alike, strict=True)):
        gains = [found.gain[row] for found in changed if found.gain is not None]
        cells = [f"{one.mean * 100:+.1f} ({signed_interval(one)})" for one in gains]
        table.add_row("emb" if layer == 0 else str(layer), f"{alike:.3f}", *cells)
    Console().print(table)
