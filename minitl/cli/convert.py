"""`minitl convert`: turn pytorch_model.bin into safetensors."""

import argparse
from pathlib import Path


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "convert",
        help="turn pytorch_model.bin into safetensors",
        description="Read an old checkpoint's pytorch_model.bin without running any code it may hold, and write the "
        "same checkpoint with model.safetensors.",
    )
    parser.add_argument("source", help="a folder with pytorch_model.bin, or a hub id")
    parser.add_argument("destination", type=Path, help="the folder to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.convert import convert

    convert(args.source, args.destination)
    print(args.destination)
    return 0
