"""`minitl embed`: turn texts into sentence vectors."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from minitl.cli.options import add_device, more_texts, read_encoder, read_lines
from minitl.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "embed",
        help="turn texts into sentence vectors",
        description="Write one vector a text, in the order of the texts.",
    )
    parser.add_argument("model", help="a sentence encoder: a folder with modules.json or of a training, or a hub id")
    texts = parser.add_mutually_exclusive_group()
    texts.add_argument("texts", nargs="*", default=[], metavar="TEXT", help="the texts (default: standard input)")
    texts.add_argument("--file", type=Path, help="a file with one text a line, in UTF-8")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="vectors.npy: a float32 matrix [texts, size]; vectors.jsonl: an object with text and vector a line",
    )
    parser.add_argument("--prompt", help="put before each text (default: what the checkpoint asks for)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="texts read at once (default: 64)")
    add_device(parser)
    parser.set_defaults(run=run, behind=more_texts)


def run(args: argparse.Namespace) -> int:
    if args.out.suffix not in (".npy", ".jsonl"):
        raise InputError(f"--out {args.out}: expected a name that ends in .npy or .jsonl")
    texts = args.texts or read_lines(args.file)
    encoder = read_encoder(args.model)
    vectors = encoder.encode(texts, batch_size=args.batch_size, prompt=args.prompt)
    _write(texts, vectors, args.out)
    print(f"{len(texts)} vectors of size {encoder.dim}: {args.out}")
    return 0


def _write(texts: list[str], vectors: "Tensor", path: Path) -> None:
    import numpy as np

    from minitl.checkpoints.atomic import replacing

    with replacing(path) as beside, open(beside, "wb") as file:
        if path.suffix == ".npy":
            np.save(file, vectors.numpy())
            return
        for text, vector in zip(texts, vectors.tolist(), strict=True):
            line = json.dumps({"text": text, "vector": vector}, ensure_ascii=False)
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
