"""`minitl inspect`: a page that shows what a model does with one text."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.cli.options import add_device, model_and_text, read_model
from minitl.errors import InputError

if TYPE_CHECKING:
    from minitl.tokenization import Tokenizer

OWN_READER = "novels-bert"
MOST = 512  # tokens: a map holds their square, and there is one for each head of each layer


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "inspect",
        help="write a page that shows what a model does with a text",
        description="Write one HTML file that needs no network: attention maps of every head, predictions after each "
        "layer, what each token is owed of the answer and in which layers it is made, how alike the layers are, what "
        "an adapter changed, and the residual stream beside the code. Layers are counted from 0, as minitl.trace names "
        "them: layer 0 is layer 1 of `minitl probe`, whose 0 is the embeddings.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=OWN_READER,
        help=f"a checkpoint folder or hub id, or a folder that `minitl train` wrote (default: {OWN_READER}, the "
        "project's own)",
    )
    parser.add_argument("text", help="what the model reads")
    parser.add_argument("--pair", metavar="TEXT", help="the second text, of a model that reads two")
    parser.add_argument(
        "--target", metavar="TEXT", help="what an encoder-decoder writes (default: what it would write by itself)"
    )
    parser.add_argument(
        "--at",
        type=int,
        metavar="N",
        help="the token that the attributions are about, counted from 0, of a model that answers token by token "
        "(default: the first mask, else the last word; of a model that writes, the last token)",
    )
    parser.add_argument("--source-language", metavar="CODE", help="of the text, for a translator: en_XX, eng_Latn, …")
    parser.add_argument("--target-language", metavar="CODE", help="that a translator writes: fr_XX, fra_Latn, …")
    parser.add_argument("--out", type=Path, required=True, metavar="page.html", help="the page to write")
    add_device(parser)
    parser.set_defaults(run=run, behind=model_and_text(OWN_READER, "text"))


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.atomic import check_writable
    from minitl.inspect import look, write_page

    if args.out.suffix != ".html":
        raise InputError(f"--out {args.out}: expected a name that ends in .html")
    check_writable(args.out.parent)
    model, tokenizer, facts = read_model(args.model)
    for side in ("source_language", "target_language"):
        if code := getattr(args, side) or facts.get("options", {}).get(side):
            setattr(tokenizer, side, code)
    _check_length("text", tokenizer, args.text, args.pair)
    if args.target is not None:
        _check_length("target", tokenizer, args.target)
    seen = look(model, tokenizer, args.text, args.target, pair=args.pair, at=args.at)
    size = write_page(seen, args.out)
    shapes = [f"{len(stack.tokens)} tokens in {len(stack.maps)} layers" for stack in seen.stacks]
    print(f"{' and '.join(shapes)}: {args.out} ({size / 1e3:,.0f} kB)")
    return 0


def _check_length(name: str, tokenizer: "Tokenizer", text: str, pair: str | None = None) -> None:
    length = tokenizer([text], None if pair is None else [pair], truncation=False)["input_ids"].shape[1]
    if length > MOST:
        raise InputError(f"the {name} has {length:,} tokens; a page shows at most {MOST}")
