"""From a recipe to what `fit` takes: data, model, tokenizer and task.

A checkpoint brings its weights and its tokenizer. From scratch, weights are random, and the tokenizer is one that the
recipe names, or is learned from the training texts.
"""

import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from minitl.data import Dataset
from minitl.errors import DataError, InputError
from minitl.models.base import Model
from minitl.models.fewer_layers import keep_layers
from minitl.models.loading import load_model, new_model
from minitl.models.registry import family_of
from minitl.models.vocabulary import add_tokens
from minitl.nn.grown import Grown
from minitl.nn.precision import cpu_emulates_bfloat16
from minitl.tasks.distillation import Distilled
from minitl.tasks.kinds import KINDS
from minitl.tasks.task import Task
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.tokenization.learning import learn_tokenizer
from minitl.training.engine import ALONE, Engine
from minitl.training.recipe import Lora, ModelPart, Recipe
from minitl.training.replay import Replay
from minitl.training.tensorboard import TensorBoard

log = logging.getLogger("minitl")

LEARNED = "tokenizer"  # of the recipe's folder: where a learned tokenizer is kept


@dataclass(frozen=True)
class Beginning:
    """What a training begins with; `recipe` with all that it left open filled in."""

    recipe: Recipe
    data: Dataset[Any]
    model: Model
    tokenizer: Tokenizer
    task: Task[Any, Any]
    replay: Replay | None = None


def begin(recipe: Recipe, anew: bool = True, engine: Engine = ALONE) -> Beginning:
    """Load the data, then the model and tokenizer, and make the task; fresh weights are those of the recipe's seed.

    A tokenizer that is learned is kept in OUT/tokenizer: learned again, words of equal count may take other places.
    `anew` learns it again, else one that is there is taken. Of several processes the first learns it. Raises what the
    loading of each raises.
    """
    kind = recipe.kind
    if recipe.training.tensorboard:
        TensorBoard(Path(recipe.out))  # which says now whether its package is there
    data = kind.load(recipe.data)
    _check(data, recipe)
    torch.manual_seed(recipe.training.seed)
    model, tokenizer = _model(recipe, data, anew, engine)
    options = replace(recipe.options, max_length=kind.length(model, recipe.options.max_length))
    training = recipe.training.with_rate(recipe.learns.usual_rate).on(recipe.model.device)
    task = kind.make(model, tokenizer, data.label_names, options)
    if recipe.distillation is not None:
        task = Distilled(task, _teacher(recipe, tokenizer), model, recipe.distillation)
    recipe = replace(recipe, options=options, training=training)
    return Beginning(recipe, data, model, tokenizer, task, _replay(recipe, model, tokenizer))


def _check(data: Dataset[Any], recipe: Recipe) -> None:
    """What the data must have, before a model is loaded. DataError names the set; InputError: see `Settings`."""
    if not data.stream and not data.train:
        raise DataError(f"{data.name}: the training split is empty")
    if data.label_names is not None and len(data.label_names) < 2:
        raise DataError(f"{data.name}: has {data.label_names} alone: there is nothing to tell apart")
    recipe.training.check_validation(data.validation)
    if recipe.training.autocast == "bfloat16" and recipe.model.device == "cpu" and cpu_emulates_bfloat16():
        log.warning('this processor emulates bfloat16, slowly: training.autocast = "auto" is float32 here')
    if data.stream is None and len(data.train) == 1 and not data.validation:
        log.warning("%s: one example, none is held out; in a .txt a blank line ends an example", data.origin)


def _model(recipe: Recipe, data: Dataset[Any], anew: bool, engine: Engine) -> tuple[Model, Tokenizer]:
    part, kind = recipe.model, recipe.kind
    head = kind.head_options(data.label_names)
    if part.source is not None:
        model = load_model(part.source, kind.head, device=part.device, **head)
        if part.layers is not None:
            model = keep_layers(model, part.layers)
        if kind.head.endswith("-lm") and isinstance(recipe.strategy, Lora) and not recipe.strategy.modules_to_save:
            _refuse_untaught(model)
        tokenizer = load_tokenizer(part.source)
        _add_tokens(model, tokenizer, part.new_tokens or [], recipe)
        return model, tokenizer
    tokenizer = _tokenizer(part, data, Path(recipe.out) / LEARNED, anew, engine)
    config = {**_special_ids(part, tokenizer), **(part.config or {}), "vocab_size": tokenizer.vocab_size}
    return new_model(config, kind.head, device=part.device, **head), tokenizer


def _teacher(recipe: Recipe, tokenizer: Tokenizer) -> Model:
    """The teacher, which must read the student's tokens."""
    assert recipe.distillation is not None
    source = recipe.distillation.teacher
    read = load_tokenizer(source)
    if not (read.is_part_of(tokenizer) and tokenizer.is_part_of(read)):
        raise InputError(f"the teacher {source} has other tokens than the student: both must read the same")
    return load_model(source, recipe.kind.head, device=recipe.model.device)


def _replay(recipe: Recipe, model: Model, tokenizer: Tokenizer) -> Replay | None:
    """What is replayed, by the head that the checkpoint has for it."""
    part = recipe.replay
    if part is None:
        return None
    assert recipe.model.source is not None  # the recipe was checked
    kind = KINDS[part.task]
    taught = load_model(recipe.model.source, kind.head, device=recipe.model.device)
    if taught.untaught:
        raise InputError(f"{recipe.model.source} has no {kind.head} head: there is nothing to replay")
    task = kind.make(taught, tokenizer, None, kind.options(max_length=kind.length(model, None)))
    texts = kind.load(kind.data(part.source, text=part.text, validation_fraction=0.0)).train
    return Replay(taught, task, texts, part.weight, part.batch_size)


def _add_tokens(model: Model, tokenizer: Tokenizer, told: list[str] | str, recipe: Recipe) -> None:
    """Give both the recipe's new tokens: rows that learn by themselves where others stay, else rows like any other."""
    tokens = [line.strip() for line in _lines(Path(told)) if line.strip()] if isinstance(told, str) else told
    apart = isinstance(recipe.strategy, Lora) or recipe.learns.new_rows
    head = {name: p.requires_grad for name, p in model.head.named_parameters()}
    if not add_tokens(model, tokenizer, tokens, train_all=not apart) and recipe.learns.new_rows:
        raise InputError(f"model.new_tokens: the tokenizer of {recipe.model.source} has every one of them already")
    for name, parameter in model.head.named_parameters():
        parameter.requires_grad_(head.get(name, True))
    for module in model.modules():
        for parameter in module.frozen() if isinstance(module, Grown) else ():
            parameter.requires_grad_(False)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"model.new_tokens: {path} cannot be read as UTF-8 text: {error}") from error


def _refuse_untaught(model: Model) -> None:
    """The head of a language model is no part of an adapter: a fresh one would stay frozen, and be lost."""
    if model.untaught:
        raise InputError(
            f"{model.source} has no {model.task} head: {', '.join(model.untaught)} would stay as drawn under an "
            "adapter; teach it in full first (--strategy full), or name it in strategy.modules_to_save"
        )


def _tokenizer(part: ModelPart, data: Dataset[Any], kept: Path, anew: bool, engine: Engine) -> Tokenizer:
    assert part.config is not None  # there is a source or a config
    if part.tokenizer is not None:
        return load_tokenizer(part.tokenizer)
    if engine.rank == 0 and (anew or not kept.exists()):
        # By lines: a novel is one example, and the words of its paragraphs are counted side by side.
        lines = (line for example in data.taught for text in example.texts for line in text.split("\n"))
        learn_tokenizer(lines, part.config["model_type"], part.config["vocab_size"]).save(kept)
    engine.wait()
    return load_tokenizer(kept)


def _special_ids(part: ModelPart, tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of the special tokens that the family's configuration names."""
    assert part.config is not None
    known = {field.name for field in fields(family_of(part.config["model_type"]).config)}
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    return {name: number for name, number in ids.items() if name in known and number is not None}
