"""Options that several verbs share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minitl.data import Dataset
    from minitl.models.base import Model
    from minitl.tokenization import Tokenizer

FACTS = "training.json"  # what `minitl train` leaves beside the model or the adapter: base, labels, settings, scores


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """--data and the names of its columns."""
    parser.add_argument("--data", required=True, help="a data set: a name, a file or folder, or a hub id")
    parser.add_argument("--text", help="column of the text (default: a usual name)")
    parser.add_argument("--pair", help="column of the second text, where there are pairs")
    parser.add_argument("--label", help="column of the label (default: a usual name)")


def read_data(args: argparse.Namespace) -> "Dataset":
    """The data set that the options name."""
    from minitl.data import load_dataset

    return load_dataset(args.data, text=args.text, pair=args.pair, label=args.label)


def read_classifier(source: str) -> tuple["Model", "Tokenizer"]:
    """A trained sequence classifier: what `minitl train` wrote into the folder `source`, or a checkpoint with a head.

    Raises InputError where the checkpoint holds no trained classifier.
    """
    from minitl.adapters import load_adapter
    from minitl.checkpoints.weights import read_json
    from minitl.errors import InputError
    from minitl.models.loading import load_model
    from minitl.tokenization import load_tokenizer

    folder = Path(source)
    if (folder / FACTS).exists():
        facts = read_json(folder / FACTS)
        if (folder / "adapter").exists():
            model = load_model(facts["base"], "sequence-classification", labels=facts["labels"])
            load_adapter(model, folder / "adapter")
            return model.eval(), load_tokenizer(facts["base"])
        source = str(folder / "model")
    model = load_model(source)
    if model.task != "sequence-classification":
        raise InputError(
            f"{source} is a {model.task} checkpoint, without a trained classifier: `minitl train` makes one"
        )
    return model, load_tokenizer(source)
