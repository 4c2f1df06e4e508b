"""`minitl train`: teach a checkpoint a task, by a recipe in a TOML file or by options."""

import argparse
import contextlib
import re
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minitl.cli.options import FACTS, RECIPE, command_to_go_on, quietly, result_folder
from minitl.errors import Diverged, InputError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from minitl.training.beginning import Beginning
    from minitl.training.engine import Engine
    from minitl.training.fit import Result
    from minitl.training.recipe import Recipe


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "train",
        help="teach a checkpoint a task",
        description="Fine-tune a checkpoint, by a recipe (a TOML file: `minitl train task.toml --set "
        "training.learning_rate=1e-4`) or by options. A tenth of the data is held out to choose the best epoch where "
        "there is no validation split. Writes OUT/model or OUT/adapter, OUT/recipe.toml, OUT/training.json and the "
        "logs. Called again after an interruption, it goes on where it was.",
    )
    parser.add_argument("model", metavar="MODEL|RECIPE", help="a checkpoint folder or hub id, or a recipe.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe, such as training.epochs=5"
    )
    parser.add_argument("--restart", action="store_true", help="begin anew instead of going on with an interrupted one")
    parser.add_argument(
        "--force", action="store_true", help="go on with an interrupted training although its recipe or data changed"
    )
    parser.add_argument(
        "--max-lr-find",
        action="store_true",
        help="train nothing: raise the learning rate over 100 steps, and say where the loss falls fastest (Smith 2017)",
    )
    options = [
        parser.add_argument("--out", help="folder for the result"),
        parser.add_argument(
            "--task",
            help="classification (default), regression, token-classification, question-answering, causal-lm, "
            "masked-lm, bidirectional-lm, negative-sampling, replaced-tokens, instruction, translation, summarisation, "
            "sentence-embedding, reward, dpo or grpo",
        ),
        *_data_options(parser),
        *_training_options(parser),
        *_lora_options(parser),
    ]
    parser.set_defaults(run=run, recipe_options=[option.dest for option in options])


def _data_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        parser.add_argument("--data", dest="data.source", help="a data set: a name, a file or folder, or a hub id"),
        parser.add_argument(
            "--text",
            dest="data.text",
            help="column of the text (default: a usual name); of aligned files the language read",
        ),
        parser.add_argument(
            "--pair",
            dest="data.pair",
            help="column of the second text, where there are pairs; of aligned files the language written",
        ),
        parser.add_argument("--label", dest="data.label", help="column of the label (default: a usual name)"),
        parser.add_argument(
            "--max-length",
            dest="options.max_length",
            type=int,
            help="tokens a text is cut to, or of a window (default: 128, of a window 384, of what is summarised 512, "
            "or all the model can read)",
        ),
    ]


def _training_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        parser.add_argument(
            "--strategy",
            dest="strategy.name",
            choices=("full", "frozen", "gradual", "head-then-body", "new-tokens", "lora"),
            help="what learns (default: full)",
        ),
        parser.add_argument(
            "--new-tokens",
            dest="model.new_tokens",
            nargs="+",
            metavar="TOKEN",
            help="what the tokenizer is to know whole; each begins as the mean of the tokens there are",
        ),
        parser.add_argument("--epochs", dest="training.epochs", type=int, help="passes over the data (default: 3)"),
        parser.add_argument("--steps", dest="training.steps", type=int, help="optimiser steps, in place of epochs"),
        parser.add_argument("--batch-size", dest="training.batch_size", type=int, help="(default: 32)"),
        parser.add_argument(
            "--accumulation", dest="training.accumulation", type=int, help="batches per optimiser step (default: 1)"
        ),
        parser.add_argument(
            "--learning-rate",
            dest="training.learning_rate",
            type=float,
            help="default: 5e-5; 5e-4 for lora, 2e-3 for new-tokens, 1e-2 for frozen",
        ),
        parser.add_argument(
            "--schedule", dest="training.schedule", choices=("linear", "cosine", "slanted", "constant")
        ),
        parser.add_argument("--warmup", dest="training.warmup", type=float, help="share of the steps (default: 0.1)"),
        parser.add_argument("--weight-decay", dest="training.weight_decay", type=float, help="(default: 0.01)"),
        parser.add_argument("--seed", dest="training.seed", type=int, help="(default: 0)"),
        parser.add_argument(
            "--bf16",
            dest="training.autocast",
            action="store_const",
            const="bfloat16",
            help="matrix products in bfloat16 over float32 weights",
        ),
        parser.add_argument("--device", dest="model.device", help="cpu or cuda (default: cpu)"),
        parser.add_argument(
            "--parallel",
            dest="model.parallel",
            choices=("none", "ddp", "fsdp"),
            help="how the processes that torchrun starts share the work: ddp, each has the whole model; fsdp, a part",
        ),
    ]


def _lora_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    group = parser.add_argument_group("with --strategy lora")
    return [
        group.add_argument("--rank", dest="strategy.rank", type=int, help="of the updates (default: 16)"),
        group.add_argument("--alpha", dest="strategy.alpha", type=float, help="strength of the updates (default: 32)"),
        group.add_argument("--dropout", dest="strategy.dropout", type=float, help="on their input (default: 0.1)"),
        group.add_argument(
            "--target-modules",
            dest="strategy.target_modules",
            nargs="+",
            metavar="NAME",
            help="layers with an update: names, published or uniform, each for every layer whose path ends with it "
            "(query value, c_attn, attention.query); or all-linear; or one regular expression, in quotes, over whole "
            "published paths ('.*layer\\.[01]\\..*query') (default: all-linear)",
        ),
        group.add_argument(
            "--modules-to-save",
            dest="strategy.modules_to_save",
            nargs="+",
            metavar="NAME",
            help="modules that learn in full and are saved with the adapter; a classifier's head always is",
        ),
        group.add_argument(
            "--bias",
            dest="strategy.bias",
            choices=("none", "all", "lora_only"),
            help="biases that learn too (default: none)",
        ),
        group.add_argument(
            "--dora", dest="strategy.dora", action="store_const", const=True, help="learn the size of each row apart"
        ),
        group.add_argument(
            "--rslora",
            dest="strategy.rslora",
            action="store_const",
            const=True,
            help="scale by alpha / sqrt(rank) instead of alpha / rank",
        ),
        group.add_argument(
            "--lora-plus-ratio",
            dest="strategy.lora_plus_ratio",
            type=float,
            metavar="RATIO",
            help="LoRA+: the rate of B is so many times that of A, 16 in the paper (default: the same rate)",
        ),
    ]


def run(args: argparse.Namespace) -> int:
    from minitl.checkpoints.atomic import check_writable
    from minitl.cli.rates import find_rate
    from minitl.training.distributed import started

    if args.restart and args.force:
        raise InputError("--restart begins anew, --force goes on all the same: one of the two")
    recipe = _recipe(args)
    if args.max_lr_find and recipe.replay is not None:
        raise InputError("--max-lr-find raises the rate of the task alone: leave the table replay out")
    out = Path(recipe.out)
    check_writable(out)
    if recipe.training.features is not None:
        check_writable(recipe.training.features)
    if (out / FACTS).exists() and not args.restart and not args.max_lr_find:
        raise InputError(f"{out} holds a finished training: name another --out, or replace it with --restart")
    with started(recipe.model.parallel, recipe.model.device) as (engine, device), _first_speaks(engine):
        recipe = replace(recipe, model=replace(recipe.model, device=device))
        if args.max_lr_find:
            find_rate(recipe)
        else:
            _train(recipe, engine, anew=args.restart, resume="forced" if args.force else not args.restart)
    return 0


def _first_speaks(engine: "Engine") -> contextlib.AbstractContextManager[None]:
    """Of several processes, one announces what all do alike."""
    return quietly() if engine.rank > 0 else contextlib.nullcontext()


def _train(recipe: "Recipe", engine: "Engine", anew: bool, resume: bool | Literal["forced"]) -> None:
    from rich.console import Console

    from minitl.cli.progress import Bars
    from minitl.training import discard_state, evaluate, fit
    from minitl.training.beginning import begin

    out = Path(recipe.out)
    begun = begin(recipe, anew, engine)
    recipe, data, model, task = begun.recipe, begun.data, begun.model, begun.task
    settings, strategy = recipe.training, recipe.learns
    test = [example for example in data.test if task.is_labelled(example)]  # some published ones are not
    if test:
        task.check(test, "test")
    if engine.rank == 0:
        (out / FACTS).unlink(missing_ok=True)  # of a result that this one replaces: what is interrupted goes on
    console = Console(quiet=engine.rank > 0)
    try:
        with Bars(console) as bars:
            bar = bars.training(f"{strategy.name} on {Path(data.name).name}", each=True)
            result = fit(
                model,
                data.taught,
                data.validation,
                task=task,
                settings=settings,
                strategy=strategy,
                folder=out,
                listener=bar,
                resume=resume,
                engine=engine,
                replay=begun.replay,
            )
            bar.close()
        scores = evaluate(model, test, task=task, batch_size=settings.eval_batch_size, engine=engine) if test else {}
        engine.collect(model)
        if engine.rank == 0:
            _finish(begun, result, scores, console)
    except Interrupted as error:
        raise Interrupted(f"{error}; go on from there with: {command_to_go_on()}", error.signum) from error
    except KeyboardInterrupt as error:
        what = f"interrupted; go on from the last state that was saved with: {command_to_go_on()}"
        raise Interrupted(what, signal.SIGINT) from error
    except Diverged as error:
        engine.collect(model)
        where = Path(recipe.out) / result_folder(recipe.strategy.name)
        if engine.rank == 0:
            _save(begun)
            discard_state(out)
        raise Diverged(f"{error}; those weights are in {where}") from error


def _finish(begun: "Beginning", result: "Result", scores: dict[str, float], console: "Console") -> None:
    """Save the model, then what it is, then let go of the state of its training."""
    from minitl.checkpoints.atomic import write_json
    from minitl.training import discard_state
    from minitl.training.card import write_card

    recipe, data, out = begun.recipe, begun.data, Path(begun.recipe.out)
    facts = _facts(begun, result) | ({"test": scores} if scores else {})
    folder = _save(begun)
    train = None if data.stream else len(data.train)
    sizes = {"train": train, "validation": len(data.validation), "test": len(data.test)}
    write_card(folder, facts, data.name, sizes)
    _write_recipe(recipe)
    write_json(out / FACTS, facts)
    discard_state(out)
    _print(console, facts, out)


def _recipe(args: argparse.Namespace) -> "Recipe":
    """The recipe of the file, or of the options, changed by the options and by --set."""
    from minitl.training.recipe import assign, make_recipe, put, read_values

    named = args.model.endswith(".toml")
    values = read_values(args.model) if named else {"model": {"source": args.model}}
    given = {key: value for key in args.recipe_options if (value := getattr(args, key)) is not None}
    if "strategy.target_modules" in given:
        given["strategy.target_modules"] = _targets(given["strategy.target_modules"])
    for key, value in given.items():
        put(values, key, value)
    for assignment in args.set:
        assign(values, assignment)
    for name, option in (("out", "--out"), ("data", "--data")):
        if name not in values:
            raise InputError(f"{option} is needed" + (f": {args.model} does not say it" if named else ""))
    if not named:
        _check_lora(given, values.get("strategy"))
    return make_recipe(values, args.model if named else "the options")


def _check_lora(given: Iterable[str], strategy: Any) -> None:
    options = [key.removeprefix("strategy.").replace("_", "-") for key in given if key.startswith("strategy.")]
    options = [f"--{name}" for name in options if name != "name"]
    if options and not (isinstance(strategy, dict) and strategy.get("name") == "lora"):
        raise InputError(f"{' and '.join(options)}: only of use with --strategy lora")


def _targets(words: list[str]) -> list[str] | str:
    """LoraConfig's `target_modules`: a single word that is no name is meant as a regular expression."""
    alone = words[0] if len(words) == 1 else None
    is_name = alone is not None and re.fullmatch(r"[\w.]+", alone)
    return words if alone is None or is_name else alone


def _facts(begun: "Beginning", result: "Result") -> dict[str, Any]:
    """What the folder remembers of the training, for `predict` and `merge` and whoever reads it."""
    from minitl.tasks.sources import Texts

    recipe, labels = begun.recipe, begun.data.label_names
    values = recipe.to_dict()
    paired = any(example.pair is not None for example in begun.data.train) if recipe.kind.data is Texts else None
    return {
        "base": recipe.model.source,
        "task": recipe.task,
        "options": values["options"],
        "strategy": recipe.strategy.name,
        "labels": None if labels is None else list(labels),
        **({} if paired is None else {"pairs": paired}),
        "recipe": values,
        "weights": str(next(begun.model.parameters()).dtype).removeprefix("torch."),
        "best_epoch": result.best_epoch,
        "validation": result.metrics,
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory,
    }


def _write_recipe(recipe: "Recipe") -> None:
    """OUT/recipe.toml: all that was chosen, also what was left to its default."""
    import tomli_w

    from minitl.checkpoints.atomic import write_text

    write_text(Path(recipe.out) / RECIPE, tomli_w.dumps(recipe.to_dict()))


def _save(begun: "Beginning") -> Path:
    """Save what was trained: OUT/adapter where that is LoRA, else OUT/model."""
    from minitl.adapters import save_adapter
    from minitl.models.loading import save_model

    folder = Path(begun.recipe.out) / result_folder(begun.recipe.strategy.name)
    if begun.recipe.strategy.name == "lora":
        save_adapter(begun.model, folder)
        if begun.recipe.model.new_tokens:
            begun.tokenizer.save(folder)
    else:
        save_model(begun.model, folder, begun.tokenizer, beside=begun.task.beside(begun.model))
    return folder


def _print(console: "Console", facts: dict[str, Any], out: Path) -> None:
    for split, named in (("validation", f"validation, best epoch {facts['best_epoch']:.3g}"), ("test", "test")):
        if facts.get(split):
            scores = "  ".join(f"{name} {value:.4f}" for name, value in facts[split].items())
            console.print(f"{named}: {scores}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"saved in {out}", highlight=False, markup=False, soft_wrap=True)
