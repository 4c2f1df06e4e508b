"""Options of the verbs that can also ask a model which was not trained for the labels: by a prompt."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minitl.prompting import PromptClassifier

DEPENDENT = ("words", "template", "calibration", "shots", "seed")  # that say nothing without --labels


def add_prompt_options(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """--labels and what shapes the prompt; returns the group, for a verb that has more of them."""
    group = parser.add_argument_group(
        "without training",
        "Ask a language model (causal, masked or encoder-decoder) or an entailment classifier by a prompt.",
    )
    group.add_argument("--labels", nargs="+", metavar="LABEL", help="the labels to choose from")
    group.add_argument("--words", nargs="+", metavar="WORD", help="what stands for each label (default: the labels)")
    group.add_argument(
        "--template",
        help="the question, with the slot {text}; of a masked model also {mask}; of an entailment classifier {} alone; "
        "\\n is a line break",
    )
    group.add_argument(
        "--no-calibration",
        dest="calibration",
        action="store_const",
        const=False,
        help="leave in the preference that a language model has for labels whatever the text says",
    )
    return group


def check_prompt_options(args: argparse.Namespace) -> None:
    """InputError for an option that is of use with --labels only, or words that do not fit the labels."""
    from minitl.errors import InputError

    given = [name for name in DEPENDENT if getattr(args, name, None) is not None]
    if given and not args.labels:
        name = "no-calibration" if given[0] == "calibration" else given[0]
        raise InputError(f"--{name}: only of use with --labels")
    if args.words and len(args.words) != len(args.labels):
        raise InputError(f"{len(args.labels)} --labels and {len(args.words)} --words: expected as many of each")


def read_prompt_classifier(
    args: argparse.Namespace, examples: Sequence[tuple[str, str]] = (), batch_size: int = 32
) -> "PromptClassifier":
    """The classifier that the options describe, which shows `examples`, (text, label) pairs."""
    from minitl.cli.options import read_model
    from minitl.prompting import PromptClassifier

    model, tokenizer, _ = read_model(args.model)
    words = dict(zip(args.labels, args.words, strict=True)) if args.words else args.labels
    template = None if args.template is None else args.template.replace("\\n", "\n")
    return PromptClassifier(
        model,
        tokenizer,
        words,
        template,
        examples,
        calibrate=args.calibration,
        max_length=args.max_length,
        batch_size=batch_size,
    )
