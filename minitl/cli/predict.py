"""`minitl predict`: label texts with a trained classifier, or by asking a language model."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minitl.cli.options import read_classifier, read_lines
from minitl.cli.prompts import add_prompt_options, check_prompt_options, read_prompt_classifier

if TYPE_CHECKING:
    from torch import Tensor


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "predict",
        help="label texts with a trained classifier, or without training by a prompt",
        description="Print label, probability and text, separated by tabs, one line a text. With --labels, any "
        "language model or entailment classifier does: give the texts before the options, or on standard input.",
    )
    parser.add_argument("model", help="a folder that `minitl train` wrote, or a checkpoint folder or hub id")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to label (default: one a line from standard input)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with every label's probability")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens a text is cut to (default: as in the training; of a prompt, all that the model has)",
    )
    add_prompt_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_prompt_options(args)
    texts = args.texts or read_lines(None)
    labels, answers = _by_prompt(args, texts) if args.labels else _by_training(args, texts)
    for text, row in zip(texts, answers.tolist(), strict=True):
        probabilities = dict(zip(labels, row, strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        if args.json:
            print(json.dumps({"text": text, "label": best, "probabilities": probabilities}, ensure_ascii=False))
        else:
            print(f"{best}\t{probabilities[best]:.4f}\t{text}")
    return 0


def _by_training(args: argparse.Namespace, texts: Sequence[str]) -> "tuple[list[str], Tensor]":
    """The labels and the probabilities [texts, labels]."""
    from minitl.data import Example
    from minitl.training import predict

    model, task = read_classifier(args.model, args.max_length)
    answers = predict(model, [Example(text) for text in texts], task=task, batch_size=args.batch_size)
    return task.label_names, answers


def _by_prompt(args: argparse.Namespace, texts: Sequence[str]) -> "tuple[list[str], Tensor]":
    classifier = read_prompt_classifier(args, batch_size=args.batch_size)
    return classifier.labels, classifier.scores(texts).exp()
