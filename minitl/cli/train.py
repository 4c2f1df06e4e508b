"""`minitl train`: fine-tune a checkpoint on labelled texts."""

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.cli.options import FACTS, add_data_options, device, read_data, result_folder, text_length
from minitl.errors import DataError, Diverged, InputError, Interrupted

if TYPE_CHECKING:
    from minitl.models.base import Model
    from minitl.tokenization import Tokenizer
    from minitl.training import Settings, Strategy

STRATEGIES = ("full", "frozen", "gradual", "lora")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "train",
        help="fine-tune a checkpoint on your own data",
        description="Fine-tune a text classifier; a tenth of the data is held out to choose the best epoch where there "
        "is no validation split. Writes OUT/model or OUT/adapter, OUT/training.json and the logs. "
        "Called again after an interruption, it goes on where it was.",
    )
    parser.add_argument("model", help="a checkpoint folder or hub id")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the result")
    parser.add_argument("--strategy", choices=STRATEGIES, default="full", help="what learns (default: full)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the data (default: 3)")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: 32)")
    parser.add_argument("--accumulation", type=int, default=1, help="batches per optimiser step")
    parser.add_argument("--learning-rate", type=float, help="default: 1e-4; 5e-4 for lora, 1e-2 for frozen")
    parser.add_argument("--schedule", choices=("linear", "cosine", "constant"), default="linear")
    parser.add_argument("--warmup", type=float, default=0.1, help="share of the steps (default: 0.1)")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-length", type=int, help="tokens a text is cut to (default: 128, or all it can read)")
    parser.add_argument("--rank", type=int, help="of LoRA (default: 16)")
    parser.add_argument("--alpha", type=float, help="of LoRA (default: 32)")
    parser.add_argument("--dropout", type=float, help="of LoRA (default: 0.1)")
    parser.add_argument("--targets", nargs="+", help="layers with LoRA (default: all-linear)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16 over float32 weights")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--restart", action="store_true", help="begin anew instead of going on with an interrupted one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console

    from minitl.checkpoints.atomic import write_json
    from minitl.cli.progress import Bars
    from minitl.models.loading import load_model
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.tokenization import load_tokenizer
    from minitl.training import discard_state, evaluate, fit

    data = read_data(args)
    if not data.label_names or len(data.label_names) < 2:
        raise DataError(f"{args.data}: a classifier needs two labels or more, found {data.label_names or 'none'}")
    if (args.out / FACTS).exists() and not args.restart:
        raise InputError(f"{args.out} holds a finished training: name another --out, or replace it with --restart")
    settings, strategy = _settings(args), _strategy(args)
    torch.manual_seed(args.seed)
    model = load_model(args.model, "sequence-classification", labels=data.label_names, device=args.device)
    tokenizer = load_tokenizer(args.model)
    task = SequenceClassification(tokenizer, data.label_names, text_length(model, args.max_length))
    test = [example for example in data.test if example.label is not None]  # published test sets are often unlabelled
    if test:
        task.check(test, "test")
    console = Console()
    try:
        with Bars(console) as bars:
            result = fit(
                model,
                data.train,
                data.validation,
                task=task,
                settings=settings,
                strategy=strategy,
                folder=args.out,
                listener=bars.training(f"{args.strategy} on {data.name}"),
                resume=not args.restart,
            )
        facts: dict[str, Any] = {
            "base": args.model,
            "strategy": args.strategy,
            "labels": data.label_names,
            "max_length": task.max_length,
            "settings": settings.to_dict(),
            "best_epoch": result.best_epoch,
            "validation": result.metrics,
            "seconds": result.seconds,
            "peak_memory_bytes": result.peak_memory,
        }
        if test:
            facts["test"] = evaluate(model, test, task=task, batch_size=settings.eval_batch_size)
        _save(model, tokenizer, args)
        write_json(args.out / FACTS, facts)
        discard_state(args.out)
    except Interrupted as error:
        raise Interrupted(f"{error}; the same command goes on from there", error.signum) from error
    except KeyboardInterrupt as error:
        what = "interrupted; the same command goes on from the last state that was saved"
        raise Interrupted(what, signal.SIGINT) from error
    except Diverged as error:
        where = _save(model, tokenizer, args)
        discard_state(args.out)
        raise Diverged(f"{error}; those weights are in {where}") from error
    for split, named in (("validation", f"validation, epoch {result.best_epoch}"), ("test", "test")):
        if facts.get(split):
            console.print(f"{named}: " + "  ".join(f"{k} {v:.4f}" for k, v in facts[split].items()), highlight=False)
    console.print(f"saved in {args.out}", highlight=False, soft_wrap=True)
    return 0


def _save(model: "Model", tokenizer: "Tokenizer", args: argparse.Namespace) -> Path:
    """Save what was trained: OUT/adapter where that is LoRA, else OUT/model."""
    from minitl.adapters import save_adapter
    from minitl.models.loading import save_model

    folder: Path = args.out / result_folder(args.strategy)
    if args.strategy == "lora":
        save_adapter(model, folder)
    else:
        save_model(model, folder, tokenizer)
    return folder


def _settings(args: argparse.Namespace) -> "Settings":
    from minitl.training import Settings

    usual = {"lora": 5e-4, "frozen": 1e-2}.get(args.strategy, 1e-4)
    return Settings(
        epochs=args.epochs,
        batch_size=args.batch_size,
        accumulation=args.accumulation,
        learning_rate=usual if args.learning_rate is None else args.learning_rate,
        weight_decay=args.weight_decay,
        warmup=args.warmup,
        schedule=args.schedule,
        autocast="bfloat16" if args.bf16 else "float32",
        seed=args.seed,
    )


def _strategy(args: argparse.Namespace) -> "Strategy":
    from minitl.adapters import LoraConfig
    from minitl.training import FROZEN, FULL, GRADUAL, Strategy

    given = {name: getattr(args, name) for name in ("rank", "alpha", "dropout", "targets")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.strategy == "lora":
        targets = given.get("targets", ["all-linear"])
        return Strategy(
            "lora",
            lora=LoraConfig(
                given.get("rank", 16),
                given.get("alpha", 32),
                given.get("dropout", 0.1),
                "all-linear" if targets == ["all-linear"] else targets,
            ),
        )
    if given:
        raise InputError(f"--{' and --'.join(given)}: only of use with --strategy lora")
    return {"full": FULL, "frozen": FROZEN, "gradual": GRADUAL}[args.strategy]
