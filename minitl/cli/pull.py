"""`minitl pull`: fetch a checkpoint from the hub into weights/."""

import argparse
import sys


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "pull",
        help="fetch a checkpoint from the hub into weights/",
        description="Fetch configuration, tokenizer and safetensors of a checkpoint; an interrupted download goes on "
        "where it was. Prints the folder, which every verb takes as MODEL.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "model", nargs="?", help="a hub id such as google-bert/bert-base-uncased, or a short name of the manifest"
    )
    what.add_argument(
        "--reference",
        action="store_true",
        help="fetch, instead of one, every checkpoint that tests/published/ compares with its published outputs and "
        "whose weights take at most 500 MB; lists them first, goes on where one fails",
    )
    parser.add_argument("--revision", help="branch, tag or commit of MODEL (default: the manifest's, else main)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.hub import pull
    from minitl.errors import InputError

    if args.reference:
        if args.revision is not None:
            raise InputError("--revision belongs to one MODEL; --reference takes the manifest's revisions")
        return _pull_references()
    print(pull(args.model, revision=args.revision))
    return 0


def _pull_references() -> int:
    from minitl.checkpoints import hub
    from minitl.checkpoints.reference import LIMIT, small_references
    from minitl.errors import CheckpointError

    sizes, failed = small_references()
    if failed and not sizes:
        name, reason = next(iter(failed.items()))
        raise CheckpointError(f"none of {len(failed)} checkpoints can be had; of {name}: {reason}")
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        print(f"{size / 1e6:7,.1f} MB  {name}")
    print(
        f"{sum(sizes.values()) / 1e6:7,.1f} MB  in all, {len(sizes)} checkpoints of at most {LIMIT / 1e6:.0f} MB each"
    )
    for name in sizes:
        try:
            print(hub.pull(name), flush=True)
        except CheckpointError as error:
            failed[name] = error
    for name, reason in failed.items():
        print(f"minitl: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
