"""`minitl evaluate`: measure a model on a labelled data set."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from minitl.cli.options import add_data_options, read_classifier, read_data
from minitl.errors import DataError

if TYPE_CHECKING:
    from minitl.data import Dataset


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="measure a model on a labelled data set",
        description="Print a model's scores on the test split of a data set, or on a single file.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id, or a folder that `minitl train` wrote")
    parser.add_argument(
        "--task",
        choices=["classification", "similarity"],
        default="classification",
        help="classification: accuracy, F1 and loss of a trained classifier (default); similarity: Spearman's rank "
        "correlation · 100 between cosines of sentence vectors and human scores",
    )
    parser.add_argument(
        "--max-length", type=int, help="tokens a text is cut to, in classification (default: as in the training)"
    )
    add_data_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    dataset = read_data(args, validation_fraction=0)
    split = " test"
    if not dataset.test and not dataset.validation:  # a single file, all of it
        dataset, split = replace(dataset, train=[], test=dataset.train), ""
    if not dataset.test:
        raise DataError(f"{dataset.origin}: has no test split")
    scores = {"classification": _classification, "similarity": _similarity}[args.task](args, dataset)
    print(f"{dataset.name}{split}, {len(dataset.test)} examples: {scores}")
    return 0


def _classification(args: argparse.Namespace, dataset: "Dataset") -> str:
    from minitl.training import evaluate

    model, task = read_classifier(args.model, args.max_length)
    if dataset.label_names != model.config.labels:
        raise DataError(
            f"{dataset.origin}: its labels are {dataset.label_names}, the model's are {model.config.labels}"
        )
    scores = evaluate(model, dataset.test, task=task)
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _similarity(args: argparse.Namespace, dataset: "Dataset") -> str:
    from minitl.models.sentence import load_sentence_encoder
    from minitl.tasks.similarity import sts_spearman

    pairs, scores = [], []
    for i, example in enumerate(dataset.test):
        if example.pair is None or example.label is None:
            raise DataError(f"{dataset.origin}, test example {i}: expected two texts and a score")
        pairs.append((example.text, example.pair))
        scores.append(float(example.label))
    return f"Spearman {sts_spearman(load_sentence_encoder(args.model), pairs, scores):.2f}"
