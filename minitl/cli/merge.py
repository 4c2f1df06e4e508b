"""`minitl merge`: merge a LoRA adapter into its base model."""

import argparse
from pathlib import Path

from minitl.cli.options import FACTS, quietly, result_folder, tokenizer_source

TASKS = {  # by an adapter's task_type, where it says one that has a head of its own
    "SEQ_CLS": "sequence-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
}


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "merge",
        help="merge a LoRA adapter into its base model",
        description="Add the adapter's update to the base's weights (in float32) and write an ordinary checkpoint.",
    )
    parser.add_argument("adapter", type=Path, help="a folder with a LoRA adapter, or one that `minitl train` wrote")
    parser.add_argument("destination", type=Path, help="the folder to write")
    parser.add_argument("--base", help="the base model (default: the one that `minitl train` noted)")
    parser.add_argument(
        "--task", help="the model's task (default: the adapter's, else what the base's config.json says)"
    )
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME", help="names of its classes, which an adapter does not hold"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from minitl.adapters import load_adapter, merge_lora, remove_lora
    from minitl.adapters.files import CONFIG
    from minitl.checkpoints.atomic import write_text
    from minitl.checkpoints.weights import read_json
    from minitl.errors import InputError
    from minitl.models.loading import load_model, save_model
    from minitl.tasks.kinds import KINDS
    from minitl.tokenization import load_tokenizer
    from minitl.training.card import CARD

    if not args.adapter.is_dir():
        raise InputError(f"{args.adapter}: no such folder")
    facts = read_json(args.adapter / FACTS) if (args.adapter / FACTS).exists() else {}
    if facts and facts["strategy"] != "lora":
        raise InputError(f"{args.adapter} holds a model trained by {facts['strategy']}: there is no adapter to merge")
    folder = args.adapter / result_folder("lora") if facts else args.adapter
    if not (folder / CONFIG).exists():
        raise InputError(f"{args.adapter} holds no adapter: neither {CONFIG} nor the {FACTS} of a finished training")
    if (args.destination / "config.json").exists() or (args.destination / FACTS).exists():
        raise InputError(f"{args.destination} holds a checkpoint or a training already: name another folder")
    noted = read_json(folder / CONFIG)
    base = args.base or facts.get("base") or noted.get("base_model_name_or_path")
    if not base:
        raise InputError(f"{args.adapter} does not say what its base is: name it with --base")
    kind = KINDS[facts["task"]] if facts else None
    task = args.task or (kind.head if kind else TASKS.get(noted.get("task_type") or ""))
    head = kind.head_options(facts["labels"]) if kind else {}
    if args.labels:
        head = {"labels": args.labels}
    with quietly():
        model = load_model(base, task, **head)
    load_adapter(model, folder)
    merge_lora(model, keep_base=False)
    remove_lora(model)
    tokenizer, beside = load_tokenizer(tokenizer_source(folder, base)), {}
    if kind is not None:
        beside = kind.make(model, tokenizer, facts["labels"], kind.options(**facts["options"])).beside(model)
    save_model(model, args.destination, tokenizer, beside=beside)
    if (folder / CARD).exists():
        text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
        write_text(
            args.destination / CARD, f"{text}\n`minitl merge` added the adapter's update to the base's weights.\n"
        )
    print(f"saved in {args.destination}: {base} with the update of {folder}")
    return 0
