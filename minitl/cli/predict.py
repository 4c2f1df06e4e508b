"""`minitl predict`: what a trained model says of texts; or a language model, asked by a prompt."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minitl.cli.options import read_lines, read_trained
from minitl.cli.prompts import add_prompt_options, check_prompt_options, read_prompt_classifier
from minitl.errors import InputError


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "predict",
        help="what a trained model says of texts, or without training a prompt",
        description="Print one line a text, parted by tabs: of a classifier label, probability and text; of a score "
        "the score and the text; of --question the answer and its score; a translation or a summary alone. A tagger's "
        "words come one a line with their tags, the text being cut at its spaces; tokens likewise, with the "
        "probability that they were replaced. With --labels, any language model or entailment classifier does: give "
        "the texts before the options, or on standard input.",
    )
    parser.add_argument("model", help="a folder that `minitl train` wrote, or a checkpoint folder or hub id")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: one a line from standard input)")
    parser.add_argument("--question", help="what the texts are to answer")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all that the model says")
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
    for plain, values in _by_prompt(args, texts) if args.labels else _by_training(args, texts):
        print(json.dumps(values, ensure_ascii=False) if args.json else plain)
    return 0


Line = tuple[str, dict[str, Any]]  # as text, and for --json


def _by_prompt(args: argparse.Namespace, texts: Sequence[str]) -> Iterator[Line]:
    classifier = read_prompt_classifier(args, batch_size=args.batch_size)
    return _classes(texts, classifier.scores(texts).exp(), classifier.labels)


def _by_training(args: argparse.Namespace, texts: Sequence[str]) -> Iterator[Line]:
    from minitl.data import Example, Question, TaggedSentence
    from minitl.tasks.regression import Regression
    from minitl.tasks.reward import RewardModel
    from minitl.training import predict

    model, task, name = read_trained(args.model, args.max_length)
    if name in ("causal-lm", "instruction", "masked-lm", "dpo", "grpo"):
        writes = "" if name == "masked-lm" else "`minitl generate` lets it write, "
        raise InputError(f"{args.model} is a {name} model: {writes}--labels asks it by a prompt")
    if name == "sentence-embedding":
        raise InputError(f"{args.model} gives vectors: `minitl embed` writes them")
    if name == "replaced-tokens":
        return _replaced(texts, model, task)
    if (args.question is not None) != (name == "question-answering"):
        raise InputError("--question: only of use with a model that answers questions, which needs one")
    as_examples: dict[str, tuple[Callable[[str], Any], Callable[[Sequence[str], Any], Iterator[Line]]]] = {
        "classification": (Example, lambda texts, said: _classes(texts, said, task.label_names)),  # type: ignore[attr-defined]
        "regression": (Example, _scores),
        "token-classification": (lambda text: TaggedSentence(tuple(text.split())), _tags),
        "question-answering": (lambda text: Question(args.question, text), _answers),
        "translation": (Example, _written),
        "summarisation": (Example, _written),
    }
    if isinstance(task, RewardModel):  # which is taught by pairs, and scores texts
        name, task = "regression", Regression(task.tokenizer, task.max_length)
    make, show = as_examples[name]
    return show(texts, predict(model, [make(text) for text in texts], task=task, batch_size=args.batch_size))


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
