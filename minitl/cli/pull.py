"""`minitl pull`: fetch a checkpoint from the hub into weights/."""

import argparse


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "pull",
        help="fetch a checkpoint from the hub into weights/",
        description="Fetch configuration, tokenizer and safetensors of a checkpoint; an interrupted download goes on "
        "where it was. Prints the folder, which every verb takes as MODEL.",
    )
    parser.add_argument("model", help="a hub id such as google-bert/bert-base-uncased, or a short name of the manifest")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.hub import pull

    print(pull(args.model, revision=args.revision))
    return 0
