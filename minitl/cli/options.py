"""Options that several verbs share."""

import argparse
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minitl.data import Dataset
    from minitl.models.base import Model
    from minitl.models.sentence import SentenceEncoder
    from minitl.tasks.task import Task
    from minitl.tokenization import Tokenizer

# What `minitl train` leaves beside the model or the adapter: base, labels, scores; and all that was chosen.
FACTS, RECIPE = "training.json", "recipe.toml"


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device: `main` puts every model there that the verb loads."""
    parser.add_argument("--device", default="cpu", help="where the model runs: cpu, cuda or mps (default: cpu)")


def more_texts(args: argparse.Namespace, words: list[str]) -> bool:
    """Words behind an option are texts like those before it."""
    args.texts = [*args.texts, *words]
    return True


def model_and_text(default: str, name: str) -> Callable[[argparse.Namespace, list[str]], bool]:
    """Of a verb that takes [model] text: a single word behind an option is the text, and what stood before the model.

    name   of the text among the arguments
    """

    def behind(args: argparse.Namespace, words: list[str]) -> bool:
        if args.model != default or len(words) != 1:
            return False
        args.model = getattr(args, name)
        setattr(args, name, words[0])
        return True

    return behind


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """--data and the names of its columns."""
    parser.add_argument("--data", required=True, help="a data set: a name, a file or folder, or a hub id")
    parser.add_argument("--text", help="column of the text (default: a usual name); of aligned files the language read")
    parser.add_argument(
        "--pair", help="column of the second text, where there are pairs; of aligned files the language written"
    )
    parser.add_argument("--label", help="column of the label (default: a usual name)")


def read_data(args: argparse.Namespace, validation_fraction: float = 0.1, scores: bool = False) -> "Dataset":
    """The data set that the options name; `scores`: whose labels are numbers."""
    from minitl.data import load_dataset

    columns = {"text": args.text, "pair": args.pair, "label": args.label}
    return load_dataset(args.data, **columns, validation_fraction=validation_fraction, scores=scores)


def called_as() -> list[str]:
    """How this program was called, for a hint that can be pasted: minitl may not be on the PATH."""
    program = Path(sys.argv[0])
    return ["python", "-m", "minitl"] if program.name == "__main__.py" else [str(program)]


def command_to_go_on() -> str:
    """The command that goes on with what was interrupted."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "the same torchrun command" + (", without --restart" if "--restart" in sys.argv else "")
    return shlex.join([*called_as(), *(word for word in sys.argv[1:] if word != "--restart")])


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Do not announce new heads: where each run has one, or where an adapter is about to bring the trained one."""
    announcements = logging.getLogger("minitl")
    level = announcements.level
    announcements.setLevel(logging.ERROR)
    try:
        yield
    finally:
        announcements.setLevel(level)


def read_lines(file: Path | None) -> list[str]:
    """The texts of `file`, or of standard input, one a line. DataError: not UTF-8, or nothing there."""
    from minitl.errors import DataError

    name = str(file or "standard input")
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not readable as UTF-8 text: {error}") from error
    if not text:
        raise DataError(f"{name}: holds no text; expected one a line")
    return text.removesuffix("\n").split("\n")


def result_folder(strategy: str) -> str:
    """Where in OUT `minitl train` puts what it trained."""
    return "adapter" if strategy == "lora" else "model"


def read_facts(source: str) -> dict[str, Any]:
    """What FACTS of a folder says where `minitl train` wrote it: an empty dict elsewhere."""
    from minitl.checkpoints.weights import read_json

    path = Path(source) / FACTS
    return read_json(path) if path.exists() else {}


def model_source(source: str, facts: dict[str, Any]) -> str:
    """The checkpoint behind `source`: of what `minitl train` wrote the model, or an adapter's base."""
    if not facts:
        return source
    return str(facts["base"]) if facts["strategy"] == "lora" else str(Path(source) / result_folder(facts["strategy"]))


def tokenizer_source(adapter: Path, base: str) -> str:
    """Where the tokenizer of an adapter is: beside it, if it knows new tokens, else with the base."""
    return str(adapter) if (adapter / "tokenizer_config.json").exists() else base


def read_model(source: str) -> tuple["Model", "Tokenizer", dict[str, Any]]:
    """A model, its tokenizer, and what FACTS says where `minitl train` wrote the folder: an empty dict elsewhere."""
    from minitl.adapters import load_adapter
    from minitl.adapters.files import CONFIG
    from minitl.errors import InputError
    from minitl.models.loading import load_model
    from minitl.tasks.kinds import KINDS
    from minitl.tokenization import load_tokenizer

    folder, facts = Path(source), read_facts(source)
    if facts.get("strategy") == "lora":
        source, kind = model_source(source, facts), KINDS[facts["task"]]
        with quietly():
            model = load_model(source, kind.head, **kind.head_options(facts["labels"]))
        adapter = folder / result_folder("lora")
        load_adapter(model, adapter)
        model.eval()
        source = tokenizer_source(adapter, source)
    else:
        if not facts and (folder / CONFIG).exists() and not (folder / "config.json").exists():
            raise InputError(f"{source} holds an adapter and no model: `minitl merge` makes one of both")
        source = model_source(source, facts)
        model = load_model(source)
    return model, load_tokenizer(source), facts


def read_trained(source: str, max_length: int | None = None) -> tuple["Model", "Task[Any, Any]", str]:
    """A trained model, its task, and that one's name in `KINDS`.

    source   what `minitl train` wrote, or a checkpoint with a head

    Texts are cut to `max_length` tokens; None = as in the training, else as is usual. Raises InputError where the
    checkpoint holds no trained head.
    """
    from minitl.errors import InputError
    from minitl.models.loading import load_model
    from minitl.tasks.kinds import KINDS, OF_HEADS
    from minitl.tasks.policy import PolicyTask

    model, tokenizer, facts = read_model(source)
    scores = model.config.problem_type == "regression" or len(model.config.labels) == 1
    usual = OF_HEADS | ({"sequence-classification": "regression"} if scores else {})
    name = facts["task"] if facts else usual.get(model.task)
    if name is None and model.task == "seq2seq-lm":
        raise InputError(
            f"{source} does not say whether it translates or summarises, as what `minitl train` wrote does: "
            "`minitl generate` lets it write"
        )
    if name is None:
        raise InputError(f"{source} is a {model.task} checkpoint, without a trained head: `minitl train` makes one")
    kind, options = KINDS[name], dict(facts.get("options", {}))
    length = kind.length(model, options.get("max_length") if max_length is None else max_length)
    labels = facts["labels"] if facts else None if kind.num_labels else model.config.labels
    task = kind.make(model, tokenizer, labels, kind.options(**options | {"max_length": length}))
    if isinstance(task, PolicyTask) and facts["strategy"] != "lora":  # else the base is in it
        task.refer_to(load_model(facts["base"], kind.head))
    return model, task, name


def read_encoder(source: str) -> "SentenceEncoder":
    """A sentence encoder: one with modules.json, or what `minitl train` wrote for the task sentence-embedding."""
    from minitl.errors import InputError
    from minitl.models.sentence import load_sentence_encoder
    from minitl.tasks.sentence_embedding import SentenceEmbedding

    if not (Path(source) / FACTS).exists():
        return load_sentence_encoder(source)
    model, task, name = read_trained(source)
    if not isinstance(task, SentenceEmbedding):
        raise InputError(f"{source} was taught {name}: its token vectors were not taught to be a text's")
    return task.encoder(model)
