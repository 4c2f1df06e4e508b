"""`minitl predict`: label texts with a trained classifier."""

import argparse
import json
import sys

from minitl.cli.options import read_classifier


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "predict",
        help="label texts with a trained classifier",
        description="Print label, probability and text, separated by tabs, one line a text.",
    )
    parser.add_argument("model", help="a folder that `minitl train` wrote, or a checkpoint with a classifier")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to label (default: one a line from standard input)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with every label's probability")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=128, help="tokens a text is cut to")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.data import Example
    from minitl.errors import DataError
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.training import predict

    texts = args.texts or [line.rstrip("\n") for line in sys.stdin]
    if not texts:
        raise DataError("no texts to label: give some as arguments, or one a line on standard input")
    model, tokenizer = read_classifier(args.model)
    task = SequenceClassification(tokenizer, model.config.labels, args.max_length)
    answers = predict(model, [Example(text) for text in texts], task=task, batch_size=args.batch_size)
    for text, row in zip(texts, answers.tolist(), strict=True):
        probabilities = dict(zip(task.label_names, row, strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        if args.json:
            print(json.dumps({"text": text, "label": best, "probabilities": probabilities}, ensure_ascii=False))
        else:
            print(f"{best}\t{probabilities[best]:.4f}\t{text}")
    return 0
