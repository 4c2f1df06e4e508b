"""`minitl predict`: what a trained model says of texts; or a language model, asked by a prompt."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minitl.cli.options import add_device, more_texts, read_facts, read_lines, read_trained
from minitl.cli.prompts import add_prompt_options, check_prompt_options, read_prompt_classifier
from minitl.errors import DataError, InputError

if TYPE_CHECKING:
    from minitl.data import Example


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "predict",
        help="what a trained model says of texts, or without training a prompt",
        description="Print one line a text, parted by tabs: of a classifier label, probability and text; of a score "
        "the score and the text; of --question the answer and its score; a translation or a summary alone. A tagger's "
        "words come one a line with their tags, the text being cut at its spaces; tokens likewise, with the "
        "probability that they were replaced. A classifier or scorer of pairs is given both texts, with a tab between "
        "them, or the second by --pair. With --labels, any language model or entailment classifier does: give "
        "the texts before the options, or on standard input.",
    )
    parser.add_argument("model", help="a folder that `minitl train` wrote, or a checkpoint folder or hub id")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: one a line from standard input)")
    parser.add_argument("--question", help="what the texts are to answer")
    parser.add_argument(
        "--pair",
        metavar="TEXT",
        help="the second text of each pair (default: what stands behind a tab, unless single texts were taught)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all that the model says")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens a text is cut to (default: as in the training; of a prompt, all that the model has)",
    )
    add_prompt_options(parser)
    add_device(parser)
    parser.set_defaults(run=run, behind=more_texts)


def run(args: argparse.Namespace) -> int:
    check_prompt_options(args)
    if args.labels and args.pair is not None:
        raise InputError("--pair: a prompt has a place for one text")
    texts = args.texts or read_lines(None)
    for plain, values in _by_prompt(args, texts) if args.labels else _by_training(args, texts):
        print(json.dumps(values, ensure_ascii=False) if args.json else plain)
    return 0


Line = tuple[str, dict[str, Any]]  # as text, and for --json


def _by_prompt(args: argparse.Namespace, texts: Sequence[str]) -> Iterator[Line]:
    classifier = read_prompt_classifier(args, batch_size=args.batch_size)
    return _classes(texts, classifier.scores(texts).exp(), classifier.labels)


def _by_training(args: argparse.Namespace, texts: Sequence[str]) -> Iterator[Line]:
    from minitl.data import Example, Question, TaggedSentence
    from minitl.tasks.kinds import KINDS
    from minitl.tasks.regression import Regression
    from minitl.tasks.reward import RewardModel
    from minitl.tasks.sources import Texts
    from minitl.training import predict

    model, task, name = read_trained(args.model, args.max_length)
    silent = ("masked-lm", "bidirectional-lm", "negative-sampling")
    if name in ("causal-lm", "instruction", *silent, "dpo", "grpo"):
        writes = "" if name in silent else "`minitl generate` lets it write, "
        raise InputError(f"{args.model} is a {name} model: {writes}--labels asks it by a prompt")
    if name == "sentence-embedding":
        raise InputError(f"{args.model} gives vectors: `minitl embed` writes them")
    if args.pair is not None and KINDS[name].data is not Texts:
        raise InputError(f"--pair: a {name} model reads no pairs of texts")
    if name == "replaced-tokens":
        return _replaced(texts, model, task)
    if (args.question is not None) != (name == "question-answering"):
        raise InputError("--question: only of use with a model that answers questions, which needs one")
    read = _reader(args) if KINDS[name].data is Texts else Example
    as_examples: dict[str, tuple[Callable[[str], Any], Callable[[Sequence[str], Any], Iterator[Line]]]] = {
        "classification": (read, lambda texts, said: _classes(texts, said, task.label_names)),  # type: ignore[attr-defined]
        "regression": (read, _scores),
        "token-classification": (lambda text: TaggedSentence(tuple(text.split())), _tags),
        "question-answering": (lambda text: Question(args.question, text), _answers),
        "translation": (Example, _written),
        "summarisation": (Example, _written),
    }
    if isinstance(task, RewardModel):  # which is taught by pairs, and scores texts
        name, task = "regression", Regression(task.tokenizer, task.max_length)
    make, show = as_examples[name]
    if args.pair is not None:
        texts = [f"{text}\t{args.pair}" for text in texts]
    examples = [make(text) for text in texts]
    lines = show(texts, predict(model, examples, task=task, batch_size=args.batch_size))
    return _both(lines, examples) if make is read else lines


def _reader(args: argparse.Namespace) -> "Callable[[str], Example]":
    """What makes an example of a text: a pair where there is a tab, unless the model was taught single texts."""
    from minitl.data import Example

    taught = read_facts(args.model).get("pairs")
    if args.pair is not None and taught is False:
        raise InputError(f"--pair: {args.model} was taught single texts")

    def read(text: str) -> Example:
        parts = [text] if taught is False else text.split("\t")
        if len(parts) > 2 or (taught and len(parts) < 2):
            reads = "pairs of texts" if taught else "a text or a pair"
            raise DataError(f"{text!r}: {args.model} reads {reads}: expected one tab, before the second, or --pair")
        return Example(parts[0], parts[1] if len(parts) == 2 else None)

    return read


def _both(lines: Iterator[Line], examples: "Sequence[Example]") -> Iterator[Line]:
    """The lines, of which those of pairs name both texts."""
    for (plain, values), example in zip(lines, examples, strict=True):
        yield plain, values if example.pair is None else values | {"text": example.text, "pair": example.pair}


def _classes(texts: Sequence[str], answers: Any, labels: Sequence[str]) -> Iterator[Line]:
    for text, row in zip(texts, answers.tolist(), strict=True):
        probabilities = dict(zip(labels, row, strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        yield (
            f"{best}\t{probabilities[best]:.4f}\t{text}",
            {"text": text, "label": best, "probabilities": probabilities},
        )


def _scores(texts: Sequence[str], scores: Sequence[float]) -> Iterator[Line]:
    for text, score in zip(texts, scores, strict=True):
        yield f"{score:.4f}\t{text}", {"text": text, "score": score}


def _tags(texts: Sequence[str], sentences: Sequence[Sequence[str]]) -> Iterator[Line]:
    for text, tags in zip(texts, sentences, strict=True):
        words = text.split()
        pairs = zip(words, tags, strict=True)
        yield "".join(f"{word}\t{tag}\n" for word, tag in pairs), {"words": words, "tags": list(tags)}


def _replaced(texts: Sequence[str], model: Any, task: Any) -> Iterator[Line]:
    from minitl.tasks.replaced_tokens import suspicions

    for text in texts:
        found = suspicions(model, task.tokenizer, text)
        lines = "".join(f"{token}\t{probability:.4f}\n" for token, probability in found)
        yield lines, {"tokens": [token for token, _ in found], "replaced": [probability for _, probability in found]}


def _answers(texts: Sequence[str], answers: Sequence[Any]) -> Iterator[Line]:
    for text, found in zip(texts, answers, strict=True):
        values = {"text": text, "answer": found.text, "start": found.start, "score": found.score}
        yield f"{found.text}\t{found.score:.4f}", values | {"no_answer": found.no_answer}


def _written(texts: Sequence[str], written: Sequence[str]) -> Iterator[Line]:
    for text, said in zip(texts, written, strict=True):
        yield " ".join(said.split("\n")), {"text": text, "written": said}
