"""`minitl evaluate`: measure a model on a labelled data set."""

import argparse

from minitl.cli.options import add_data_options, read_data
from minitl.errors import DataError


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="measure a model on a labelled data set",
        description="Print a model's score on the test split of a data set.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id")
    parser.add_argument(
        "--task",
        choices=["similarity"],
        required=True,
        help="similarity: Spearman's rank correlation · 100 between cosines of sentence vectors and human scores",
    )
    add_data_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.models.sentence import load_sentence_encoder
    from minitl.tasks.similarity import sts_spearman

    dataset = read_data(args)
    pairs, scores = [], []
    for i, example in enumerate(dataset.test):
        if example.pair is None or example.label is None:
            raise DataError(f"{dataset.origin}, test example {i}: expected two texts and a score")
        pairs.append((example.text, example.pair))
        scores.append(float(example.label))
    if not pairs:
        raise DataError(f"{dataset.origin}: has no test split")
    encoder = load_sentence_encoder(args.model)
    print(f"{dataset.name} test, {len(pairs)} pairs: Spearman {sts_spearman(encoder, pairs, scores):.2f}")
    return 0
