"""`minitl VERB …`: find the verb's file, run it, turn errors into one line and an exit code.

Exit codes: 0 ok, 1 failed, 2 usage, 130 and 143 interrupted (Ctrl-C, SIGTERM) and resumable.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from minitl import __version__
from minitl.errors import Interrupted, MinitlError

# verb -> (module, what it does); a module is imported only when its verb is called.
VERBS = {
    "reproduce": ("minitl.cli.reproduce", "run the transfer-learning study and write its report"),
    "train": ("minitl.cli.train", "fine-tune a checkpoint on your own data"),
    "evaluate": ("minitl.cli.evaluate", "measure a model on a labelled data set"),
    "predict": ("minitl.cli.predict", "label texts with a trained classifier, or by a prompt"),
    "generate": ("minitl.cli.generate", "continue a text with a language model, or answer it"),
    "embed": ("minitl.cli.embed", "turn texts into sentence vectors"),
    "probe": ("minitl.cli.probe", "measure what each layer of a model knows"),
    "inspect": ("minitl.cli.inspect", "write a page that shows what a model does with a text"),
    "pull": ("minitl.cli.pull", "fetch a checkpoint from the hub into weights/"),
    "convert": ("minitl.cli.convert", "turn pytorch_model.bin into safetensors"),
    "merge": ("minitl.cli.merge", "merge a LoRA adapter into its base model"),
    "bench": ("minitl.cli.bench", "compare speed, memory and accuracy with the peer libraries"),
}


# What the library's messages call what is an option here.
OPTIONS = {
    "resume=False": "--restart",
    'resume="forced"': "--force",
    **{f"name one with {column}=": f"name one with --{column}" for column in ("text", "pair", "label")},
    **{f"name one with {column}=": f"name one with --set data.{column}=" for column in ("anchor", "positive")},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv)
    try:
        with _on_its_device(args):
            return int(args.run(args))
    except Interrupted as error:
        print(f"minitl: {error}", file=sys.stderr)
        return 128 + error.signum
    except MinitlError as error:
        print(f"minitl: {_by_options(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minitl: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextlib.contextmanager
def _on_its_device(args: argparse.Namespace) -> Iterator[None]:
    """Put models where --device says, of a verb that has it; torch is not loaded for a verb that needs none."""
    if getattr(args, "device", "cpu") == "cpu":
        yield
        return
    from minitl.nn.device import models_on

    with models_on(args.device):
        yield


def _by_options(message: str) -> str:
    for word, option in OPTIONS.items():
        message = message.replace(word, option)
    return message


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for; SystemExit where a word is not known."""
    parser = _parser(argv)
    if not argv:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    args, rest = parser.parse_known_args(argv)
    # argparse takes words only where they stand in one piece; a verb says what becomes of those behind an option.
    if rest and (any(word.startswith("-") for word in rest) or not getattr(args, "behind", _nothing)(args, rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _nothing(_args: argparse.Namespace, _words: list[str]) -> bool:
    """Of a verb that takes no words behind its options."""
    return False


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names: `--rest` would begin anew, and be no `--restart` where that is looked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="minitl",
        description="Transfer learning in NLP from first principles.",
        epilog="`minitl VERB --help` says more about a verb.",
    )
    parser.add_argument("--version", action="version", version=f"minitl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    called = next((word for word in argv if not word.startswith("-")), None)
    for verb, (module, summary) in VERBS.items():
        if verb == called:
            import_module(module).add_parser(verbs)
        else:
            verbs.add_parser(verb, help=summary, add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
