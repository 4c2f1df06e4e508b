"""`minitl evaluate`: measure a model on a labelled data set."""

import argparse
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.cli.options import add_data_options, add_device, read_data, read_encoder, read_facts, read_trained
from minitl.cli.prompts import add_prompt_options, check_prompt_options, read_prompt_classifier
from minitl.errors import DataError, InputError

if TYPE_CHECKING:
    from minitl.data import Dataset, Example
    from minitl.tasks.kinds import Kind

log = logging.getLogger("minitl")

# Of a recipe's [data]: what its numbers mean, which holds for other sets of the same task; and what says which files
# are read and how they are split, which does not. The rest are names of columns.
MEANING = ("highest", "least")
FILES = ("source", "validation_fraction", "test_fraction", "stream")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="measure a model on a labelled data set",
        description="Print a model's scores on the test split of a data set. A single file is measured as a whole: "
        "where the model was taught by that file, with the texts that it knows (training.json has the scores of the "
        "part that was held out). What the recipe says of its data (the highest score, columns that are there) holds "
        "here, too, unless an option says otherwise.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id, or a folder that `minitl train` wrote")
    parser.add_argument(
        "--task",
        choices=["classification", "similarity"],
        default="classification",
        help="classification: the scores of a trained head, whatever it was taught, or accuracy and F1 of a classifier "
        "by a prompt (default); "
        "similarity: Spearman's rank correlation · 100 between cosines of sentence vectors and human scores",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens a text is cut to, in classification (default: as in the training; of a prompt, all that the model "
        "has)",
    )
    add_data_options(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="data.KEY=VALUE",
        help="a key of the recipe's [data], such as data.highest=5, for a model that `minitl train` wrote",
    )
    prompts = add_prompt_options(parser)
    prompts.add_argument("--shots", type=int, metavar="N", help="show N labelled examples of the training split")
    prompts.add_argument("--seed", type=int, help="of the draw of the examples (default: 0)")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_prompt_options(args)
    if args.labels and args.task != "classification":
        raise InputError("--labels: only of use with --task classification")
    if args.set and (args.labels or args.task != "classification"):
        raise InputError("--set: only of use with a trained head")
    by_task = {"classification": _prompted if args.labels else _trained, "similarity": _similarity}
    print(by_task[args.task](args))
    return 0


def _read_texts(args: argparse.Namespace, scores: bool = False) -> "tuple[Dataset[Example], str]":
    """The data set whose test split is to be measured, and what it is called."""
    return _judged(read_data(args, validation_fraction=0, scores=scores))


def _judged(dataset: "Dataset[Any]") -> "tuple[Dataset[Any], str]":
    split = " test"
    if not dataset.test and not dataset.validation:  # a single file, all of it
        dataset, split = replace(dataset, train=[], test=dataset.train), ""
    if not dataset.test:
        raise DataError(f"{dataset.origin}: has no test split")
    return dataset, f"{dataset.name}{split}, {len(dataset.test)} examples"


def _trained(args: argparse.Namespace) -> str:
    from minitl.tasks.kinds import KINDS
    from minitl.tasks.sources import Texts
    from minitl.training import evaluate

    model, task, name = read_trained(args.model, args.max_length)
    kind = KINDS[name]
    dataset, called = _judged(_load(args, kind, _asked(args, kind, name)))
    labels = getattr(task, "label_names", None)
    if kind.data is Texts and dataset.label_names != labels:
        raise DataError(f"{dataset.origin}: its labels are {dataset.label_names}, the model's are {labels}")
    scores = evaluate(model, dataset.test, task=task)
    return f"{called}: {_listed(scores)}"


def _asked(args: argparse.Namespace, kind: "Kind", name: str) -> dict[str, Any]:
    """What the options say of the data: columns, and keys of [data]."""
    from minitl.training.recipe import assign

    known = [field.name for field in fields(kind.data)]
    columns = ("text", "pair", "label")
    given = {column: getattr(args, column) for column in columns if getattr(args, column) is not None}
    for column in given:
        if column not in known:
            raise InputError(f"--{column}: the data of this model's task, {name}, has no such column")
    values: dict[str, Any] = {"data": given}
    for assignment in args.set:
        assign(values, assignment)
    for key in [*(key for key in values if key != "data"), *(f"data.{key}" for key in values["data"] if key in FILES)]:
        raise InputError(f"--set {key}: what is measured is all that --data names; expected another key of [data]")
    return given


def _load(args: argparse.Namespace, kind: "Kind", asked: dict[str, Any]) -> "Dataset[Any]":
    """The data, read as in the training as far as the options leave that open.

    Of the set that taught the model all is known. Of another, its columns may have other names.
    """
    taught = read_facts(args.model).get("recipe", {}).get("data", {})
    meaning = {key: taught[key] for key in MEANING if key in taught}
    columns = {key: value for key, value in taught.items() if key not in (*MEANING, *FILES)}
    if taught.get("source") == args.data:
        return _read(args, kind, taught | asked)
    if columns.items() <= asked.items():
        return _read(args, kind, meaning | asked)
    try:
        return _read(args, kind, meaning | columns | asked)
    except DataError as error:
        try:
            dataset = _read(args, kind, meaning | asked)
        except DataError:
            raise DataError(f"{error} (read by the columns of the training)") from error
        log.warning("%s is read by usual columns, not by those of the training: %s", args.data, error)
        return dataset


def _read(args: argparse.Namespace, kind: "Kind", values: dict[str, Any]) -> "Dataset[Any]":
    from minitl.training.recipe import read_part

    where: Any = read_part(kind.data, values | {"source": args.data, "validation_fraction": 0.0}, "--set data")
    if hasattr(where, "stream"):
        where = replace(where, stream=None)
    if Path(args.data).expanduser().is_file() and hasattr(where, "test_fraction"):
        where = replace(where, test_fraction=0.0)
    return kind.load(where)


def _listed(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _prompted(args: argparse.Namespace) -> str:
    from minitl.tasks.sequence_classification import SequenceClassification

    dataset, called = _read_texts(args)
    names = dataset.label_names
    if names is None or sorted(names) != sorted(args.labels):
        raise DataError(f"{dataset.origin}: its labels are {names or 'none'}, --labels are {args.labels}")
    if any(example.pair is not None for example in dataset.test):
        raise DataError(f"{dataset.origin}: holds pairs of texts, and a prompt has a place for one")
    classifier = read_prompt_classifier(args, _shots(args, dataset, names))
    task = SequenceClassification(classifier.tokenizer, names)
    task.check(dataset.test, "test")
    answers = classifier.scores([example.text for example in dataset.test])
    order = [classifier.labels.index(name) for name in names]
    return f"{called}: {_listed(task.score(answers[:, order], dataset.test))}"


def _shots(args: argparse.Namespace, dataset: "Dataset[Example]", names: list[str]) -> list[tuple[str, str]]:
    """The examples that the prompt shows, as (text, label)."""
    from minitl.data import sample

    if args.shots is None:
        if args.seed is not None:
            raise InputError("--seed: only of use with --shots")
        return []
    if args.shots == 0:
        return []
    if not dataset.train:
        raise InputError(f"--shots: {dataset.origin} has no training split to draw examples from")
    if not 1 <= args.shots <= len(dataset.train):
        raise InputError(
            f"--shots {args.shots}: expected 0 to {len(dataset.train)}, the examples in the training split"
        )
    drawn = sample(dataset.train, args.shots, args.seed or 0)
    shown = [(example.text, names[int(example.label)]) for example in drawn if example.label is not None]
    if len(shown) < len(drawn):
        raise DataError(f"{dataset.origin}: its training split has no labels to show")
    return shown


def _similarity(args: argparse.Namespace) -> str:
    from minitl.tasks.similarity import sts_spearman

    dataset, called = _read_texts(args, scores=True)
    pairs, scores = [], []
    for i, example in enumerate(dataset.test):
        if example.pair is None or example.label is None:
            raise DataError(f"{dataset.origin}, test example {i}: expected two texts and a score")
        pairs.append((example.text, example.pair))
        scores.append(float(example.label))
    return f"{called}: Spearman {sts_spearman(read_encoder(args.model), pairs, scores):.2f}"
