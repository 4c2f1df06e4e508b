"""`minitl generate`: continue a text with a causal language model."""

import argparse


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "generate",
        help="continue a text with a causal language model",
        description="Print the prompt and its continuation: the likeliest token each time, or draws with --sample.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id")
    parser.add_argument("prompt", help="the text to continue")
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="write at most N (default: 128)")
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="X", help="above 1, avoid tokens of the text so far"
    )
    parser.add_argument("--sample", action="store_true", help="draw each token; the next four shape the draws")
    parser.add_argument("--temperature", type=float, metavar="X", help="below 1 sharper, above 1 flatter (default: 1)")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that make up P")
    parser.add_argument("--seed", type=int, help="make the draws repeatable")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.errors import InputError
    from minitl.generation import generate
    from minitl.models.loading import load_model
    from minitl.tokenization import load_tokenizer

    shape = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "seed")}
    shape = {name: value for name, value in shape.items() if value is not None}
    if shape and not args.sample:
        raise InputError(f"--{' and --'.join(shape).replace('_', '-')}: only of use with --sample")
    tokenizer = load_tokenizer(args.model)
    model = load_model(args.model, "causal-lm")
    ids = generate(
        model,
        tokenizer([args.prompt])["input_ids"],
        max_new_tokens=args.max_new_tokens,
        do_sample=args.sample,
        repetition_penalty=args.repetition_penalty,
        **shape,
    )
    print(tokenizer.decode(ids[0], skip_special_tokens=True))
    return 0
