"""`minitl generate`: continue a text with a causal language model, or answer it with an encoder-decoder."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from minitl.cli.options import add_device, model_and_text, model_source, read_facts, read_model

if TYPE_CHECKING:
    from minitl.models.base import Model
    from minitl.tokenization import Tokenizer

WRITING = ("causal-lm", "seq2seq-lm")  # heads
TAUGHT = ("max_new_tokens", "num_beams")  # of a task's options, what holds for what is written later, too
SAMPLING = ("temperature", "top_k", "top_p", "seed")
OWN_WRITER = "novels-gpt2"
SEARCH = ("num_beams", "length_penalty", "no_repeat_ngram_size", "min_new_tokens", "repetition_penalty")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "generate",
        help="continue a text with a language model, or answer it with an encoder-decoder",
        description="Print the prompt and its continuation, word by word as they come; of an encoder-decoder, what it "
        "makes of the text: a summary, a translation. Unless an option says otherwise, tokens are chosen as the "
        "checkpoint was published (beams, penalties); they are drawn only with --sample. What `minitl train` wrote "
        "reads the text as it was taught to: in its template or behind its prefix, in its languages.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=OWN_WRITER,
        help=f"a folder that `minitl train` wrote, or a checkpoint folder or hub id (default: {OWN_WRITER}, the "
        "project's own)",
    )
    parser.add_argument("prompt", help="the text to continue or to answer")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="write at most N (default: 128)")
    parser.add_argument("--min-new-tokens", type=int, metavar="N", help="write at least N")
    parser.add_argument("--num-beams", type=int, metavar="N", help="beam search; 1 = one token after the other")
    parser.add_argument("--length-penalty", type=float, metavar="X", help="of beam search: above 0 favours long texts")
    parser.add_argument("--no-repeat-ngram-size", type=int, metavar="N", help="write no N tokens twice")
    parser.add_argument(
        "--repetition-penalty", type=float, metavar="X", help="above 1, avoid tokens of the text so far"
    )
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end where TEXT is written")
    parser.add_argument("--source-language", metavar="CODE", help="of the text, for a translator: en_XX, eng_Latn, …")
    parser.add_argument("--target-language", metavar="CODE", help="to translate into: fr_XX, fra_Latn, …")
    parser.add_argument("--sample", action="store_true", help="draw each token; the next four shape the draws")
    parser.add_argument("--temperature", type=float, metavar="X", help="below 1 sharper, above 1 flatter (default: 1)")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that make up P")
    parser.add_argument("--seed", type=int, help="make the draws repeatable")
    add_device(parser)
    parser.set_defaults(run=run, behind=model_and_text(OWN_WRITER, "prompt"))


def run(args: argparse.Namespace) -> int:
    facts = read_facts(args.model)
    taught = facts.get("options", {})
    options = _options(args, model_source(args.model, facts), taught)
    model, tokenizer = _read(args.model, facts)
    if source := args.source_language or taught.get("source_language"):
        tokenizer.source_language = source
    if target := args.target_language or taught.get("target_language"):
        options |= tokenizer.target_options(target)
    prompt = _asked(args.prompt, taught)
    if options.get("num_beams", 1) > 1:
        _print_at_once(model, tokenizer, prompt, options)
    else:
        _print_as_it_comes(model, tokenizer, prompt, options)
    return 0


def _read(source: str, facts: dict[str, Any]) -> "tuple[Model, Tokenizer]":
    """The model with the head that writes, and its tokenizer; InputError for one that was taught something else."""
    from minitl.errors import InputError
    from minitl.models.loading import load_model, writing_task
    from minitl.tasks.kinds import KINDS
    from minitl.tokenization import load_tokenizer

    if not facts:
        return load_model(source, writing_task(source)), load_tokenizer(source)
    if KINDS[facts["task"]].head not in WRITING:
        raise InputError(f"{source} was taught {facts['task']}, and writes nothing")
    model, tokenizer, _ = read_model(source)
    return model, tokenizer


def _asked(text: str, taught: dict[str, Any]) -> str:
    """The text as a trained model was taught to read it."""
    from minitl.tasks.instruction import filled

    return filled(taught.get("template", "{prompt}"), taught.get("prefix", "") + text)


def _options(args: argparse.Namespace, source: str, taught: dict[str, Any]) -> dict[str, Any]:
    """What `source` was published with, then what it was taught with, then what the command line says."""
    from minitl.errors import InputError
    from minitl.generation import generation_options

    shape = {name: getattr(args, name) for name in SAMPLING if getattr(args, name) is not None}
    if shape and not args.sample:
        raise InputError(f"--{' and --'.join(shape).replace('_', '-')}: only of use with --sample")
    published = generation_options(source) | {name: taught[name] for name in TAUGHT if name in taught}
    if args.sample:
        published.pop("num_beams", None)
    else:
        published = {name: value for name, value in published.items() if name not in (*SAMPLING, "do_sample")}
    given = {name: getattr(args, name) for name in (*SEARCH, "max_new_tokens") if getattr(args, name) is not None}
    options = {**published, **given, **shape, "do_sample": args.sample, "stop_strings": tuple(args.stop)}
    least, most = options.get("min_new_tokens", 0), options.get("max_new_tokens", 128)
    if "min_new_tokens" not in given:  # a published minimum yields to a shorter text that was asked for
        options["min_new_tokens"] = min(least, most)
    return options


def _print_at_once(model: "Model", tokenizer: "Tokenizer", prompt: str, options: dict[str, Any]) -> None:
    from minitl.generation import generate

    batch = tokenizer([prompt]).to(next(model.parameters()).device)
    ids = generate(model, batch["input_ids"], batch["attention_mask"], tokenizer=tokenizer, **options)
    print(tokenizer.decode(ids[0], skip_special_tokens=True))


def _print_as_it_comes(model: "Model", tokenizer: "Tokenizer", prompt: str, options: dict[str, Any]) -> None:
    from minitl.generation import stream_text

    for piece in stream_text(model, tokenizer, prompt, **options):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
