"""`minitl predict`: label texts with a trained classifier."""

import argparse
import json

from minitl.cli.options import read_classifier, read_lines


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
    parser.add_argument("--max-length", type=int, help="tokens a text is cut to (default: as in the training)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.data import Example
    from minitl.training import predict

    texts = args.texts or read_lines(None)
    model, task = read_classifier(args.model, args.max_length)
    answers = predict(model, [Example(text) for text in texts], task=task, batch_size=args.batch_size)
    for text, row in zip(texts, answers.tolist(), strict=True):
        probabilities = dict(zip(task.label_names, row, strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        if args.json:
            print(json.dumps({"text": text, "label": best, "probabilities": probabilities}, ensure_ascii=False))
        else:
            print(f"{best}\t{probabilities[best]:.4f}\t{text}")
    return 0
