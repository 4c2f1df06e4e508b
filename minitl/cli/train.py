"""`minitl train`: fine-tune a checkpoint on labelled texts."""

import argparse
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.cli.options import FACTS, add_data_options, device, read_data, result_folder, text_length
from minitl.errors import DataError, Diverged, InputError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from minitl.models.base import Model
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.tokenization import Tokenizer
    from minitl.training import Settings, Strategy
    from minitl.training.fit import Result

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
    parser.add_argument("--learning-rate", type=float, help="default: 5e-5; 5e-4 for lora, 1e-2 for frozen")
    parser.add_argument("--schedule", choices=("linear", "cosine", "constant"), default="linear")
    parser.add_argument("--warmup", type=float, default=0.1, help="share of the steps (default: 0.1)")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-length", type=int, help="tokens a text is cut to (default: 128, or all it can read)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16 over float32 weights")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--restart", action="store_true", help="begin anew instead of going on with an interrupted one")
    _add_lora_options(parser)
    parser.set_defaults(run=run)


def _add_lora_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --strategy lora")
    options = (
        group.add_argument("--rank", type=int, help="of the updates (default: 16)"),
        group.add_argument("--alpha", type=float, help="strength of the updates (default: 32)"),
        group.add_argument("--dropout", type=float, help="on the updates' input (default: 0.1)"),
        group.add_argument(
            "--target-modules",
            nargs="+",
            metavar="NAME",
            help="layers with an update: names, published or uniform, each for every layer whose path ends with it "
            "(query value, c_attn, attention.query); or all-linear; or one regular expression, in quotes, over whole "
            "published paths ('.*layer\\.[01]\\..*query') (default: all-linear)",
        ),
        group.add_argument("--dora", action="store_true", default=None, help="learn the size of each row apart"),
        group.add_argument(
            "--rslora", action="store_true", default=None, help="scale by alpha / sqrt(rank) instead of alpha / rank"
        ),
        group.add_argument(
            "--bias", choices=("none", "all", "lora_only"), help="biases that learn too (default: none)"
        ),
        group.add_argument(
            "--modules-to-save",
            nargs="+",
            metavar="NAME",
            help="modules that learn in full and are saved with the adapter; a classifier's head always is",
        ),
        group.add_argument(
            "--lora-plus-ratio",
            type=float,
            metavar="RATIO",
            help="LoRA+: the rate of B is so many times that of A, 16 in the paper (default: the same rate)",
        ),
    )
    parser.set_defaults(lora_options=[option.dest for option in options])


def run(args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console

    from minitl.checkpoints.atomic import check_writable, write_json
    from minitl.cli.progress import Bars
    from minitl.models.loading import load_model
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.tokenization import load_tokenizer
    from minitl.training import discard_state, evaluate, fit

    check_writable(args.out)
    data = read_data(args)
    if not data.label_names or len(data.label_names) < 2:
        raise DataError(f"{args.data}: a classifier needs two labels or more, found {data.label_names or 'none'}")
    if (args.out / FACTS).exists() and not args.restart:
        raise InputError(f"{args.out} holds a finished training: name another --out, or replace it with --restart")
    strategy = _strategy(args)
    settings = _settings(args).with_rate(strategy.usual_rate)
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
        facts = _facts(args, task, settings, result)
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
    _print(console, facts, args.out)
    return 0


def _print(console: "Console", facts: dict[str, Any], out: Path) -> None:
    for split, named in (("validation", f"validation, epoch {facts['best_epoch']}"), ("test", "test")):
        if facts.get(split):
            console.print(f"{named}: " + "  ".join(f"{k} {v:.4f}" for k, v in facts[split].items()), highlight=False)
    console.print(f"saved in {out}", highlight=False, soft_wrap=True)


def _facts(
    args: argparse.Namespace, task: "SequenceClassification", settings: "Settings", result: "Result"
) -> dict[str, Any]:
    """What the folder remembers of the training, for `predict` and `merge` and whoever reads it."""
    return {
        "base": args.model,
        "strategy": args.strategy,
        "lora_plus_ratio": args.lora_plus_ratio,
        "labels": task.label_names,
        "max_length": task.max_length,
        "settings": settings.to_dict(),
        "best_epoch": result.best_epoch,
        "validation": result.metrics,
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory,
    }


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

    return Settings(
        epochs=args.epochs,
        batch_size=args.batch_size,
        accumulation=args.accumulation,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        warmup=args.warmup,
        schedule=args.schedule,
        autocast="bfloat16" if args.bf16 else "float32",
        seed=args.seed,
    )


def _strategy(args: argparse.Namespace) -> "Strategy":
    from minitl.adapters import LoraConfig
    from minitl.training import FROZEN, FULL, GRADUAL, LoraPlus, Strategy

    given = {name: getattr(args, name) for name in args.lora_options if getattr(args, name) is not None}
    if args.strategy == "lora":
        config = LoraConfig(
            r=given.get("rank", 16),
            alpha=given.get("alpha", 32),
            dropout=given.get("dropout", 0.1),
            target_modules=_targets(given.get("target_modules", ["all-linear"])),
            modules_to_save=given.get("modules_to_save"),
            bias=given.get("bias", "none"),
            use_rslora=given.get("rslora", False),
            use_dora=given.get("dora", False),
        )
        ratio = given.get("lora_plus_ratio")
        return Strategy("lora", lora=config, lora_plus=None if ratio is None else LoraPlus(ratio))
    if given:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{options}: only of use with --strategy lora")
    return {"full": FULL, "frozen": FROZEN, "gradual": GRADUAL}[args.strategy]


def _targets(words: list[str]) -> list[str] | str:
    """LoraConfig's `target_modules`: a single word that is no name is meant as a regular expression."""
    alone = words[0] if len(words) == 1 else None
    is_name = alone is not None and re.fullmatch(r"[\w.]+", alone)
    return words if alone is None or is_name else alone
