"""A training as one TOML file: what is taught to which model by which data, how, and where the result goes.

    out = "runs/names"
    task = "token-classification"

    [model]                     [data]                  [strategy]            [training]
    source = "roberta-base"     source = "wnut17"       name = "lora"         epochs = 3
                                                        rank = 16             learning_rate = 5e-4
    [options]                   [distillation]                  [replay]
    max_length = 128            teacher = "runs/large/model"    source = "novels-eng", task = "masked-lm"

The keys of [data] and [options] are the task's (`minitl.tasks.kinds`), those of [strategy] the strategy's, those of
[training] the fields of `Settings`; [distillation] and [replay] are there where a teacher is to be imitated
(`Distillation`), or pretraining to go on beside (`ReplayPart`). All is checked before anything is loaded.
"""

import re
import sys
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from minitl.adapters import LoraConfig
from minitl.errors import ConfigError, InputError, did_you_mean
from minitl.models.registry import family_names, family_of
from minitl.nn.device import check_device, usual_device
from minitl.tasks.distillation import HEADS, Distillation
from minitl.tasks.kinds import KINDS, Kind
from minitl.tasks.ranges import above_zero, at_least, each_once, not_empty, one_of
from minitl.training.lora_plus import LoraPlus
from minitl.training.settings import Settings
from minitl.training.strategies import FROZEN, FULL, GRADUAL, HEAD_THEN_BODY, NEW_TOKENS, Strategy

PARALLEL = ("none", "ddp", "fsdp")
TABLES = ("model", "data", "options", "strategy", "training", "distillation", "replay")
ALIASES = {"training.lr": "training.learning_rate"}
T = TypeVar("T")


@dataclass(frozen=True)
class ModelPart:
    """source      a checkpoint folder or hub id
    layers      with `source`: of its layers these alone, counted from 0 at the bottom (`keep_layers`)
    config      in its place: the content of a config.json, for random weights
    tokenizer   with `config`: a folder or hub id; None = a tokenizer of `vocab_size` is learned from the training texts
    new_tokens  with `source`: what its tokenizer and tables are to have too: tokens, or a text file with one a line
    device      "cpu" or "cuda"; whether this machine has it is seen when it is used: a recipe may be read elsewhere
    parallel    "none", or how the processes of torchrun share the work: "ddp" or "fsdp"
    """

    source: str | None = None
    layers: list[int] | None = None
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    new_tokens: list[str] | str | None = None
    device: str = field(default_factory=usual_device)
    parallel: str = "none"

    def __post_init__(self) -> None:
        if (self.source is None) == (self.config is None):
            raise InputError("source names a checkpoint, or config describes one with random weights: one of the two")
        one_of(PARALLEL, parallel=self.parallel)
        not_empty(source=self.source, tokenizer=self.tokenizer)
        check_device(self.device)
        if self.layers is not None:
            if self.source is None:
                raise InputError("layers goes with source: a config says how many there are")
            if not self.layers or self.layers != sorted(set(self.layers)) or self.layers[0] < 0:
                raise InputError(f"layers must be numbers of layers from 0 on, in rising order, got {self.layers}")
        if self.tokenizer is not None and self.config is None:
            raise InputError("tokenizer goes with config: a checkpoint has its own")
        for token in [self.new_tokens] if isinstance(self.new_tokens, str) else self.new_tokens or []:
            not_empty(new_tokens=token)
        if self.new_tokens is not None and self.source is None:
            raise InputError("new_tokens goes with source: a vocabulary that is learned has no old tokens")
        if self.config is not None:
            _check_config(self.config)


@dataclass(frozen=True)
class ReplayPart:
    """What goes on beside the training, see `minitl.training.replay`.

    source   unlabelled text, see `minitl.data.load_text`; text is its column, where there are columns
    task     "masked-lm" or "causal-lm", whose head the checkpoint must have
    """

    source: str
    task: str
    text: str | None = None
    weight: float = 1.0
    batch_size: int = 8

    def __post_init__(self) -> None:
        one_of(("masked-lm", "causal-lm"), task=self.task)
        not_empty(source=self.source, text=self.text)
        above_zero(weight=self.weight)
        at_least(1, batch_size=self.batch_size)


@dataclass(frozen=True)
class Plain:
    """A strategy of the weights themselves; the fields as in `Strategy`, openings None = those of the name."""

    name: str = "full"
    layer_decay: float = 1.0
    openings: list[list[float]] | None = None
    by_epoch: bool = False
    l2_sp: float = 0.0
    held: list[int] | None = None

    def __post_init__(self) -> None:
        if any(len(opening) != 2 for opening in self.openings or []):
            raise InputError(f"openings must be pairs [from, share], got {self.openings}")


@dataclass(frozen=True)
class Lora:
    """The fields of `LoraConfig` and `LoraPlus` that a training chooses."""

    name: str = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.1
    target_modules: list[str] | str = "all-linear"
    modules_to_save: list[str] | None = None
    bias: str = "none"
    rslora: bool = False
    dora: bool = False
    lora_plus_ratio: float | None = None

    def __post_init__(self) -> None:
        at_least(1, rank=self.rank, lora_plus_ratio=self.lora_plus_ratio)
        above_zero(alpha=self.alpha)
        each_once(target_modules=self.target_modules, modules_to_save=self.modules_to_save)
        not_empty(target_modules=self.target_modules)
        if isinstance(self.target_modules, str):
            try:
                re.compile(self.target_modules)
            except re.error as error:
                raise InputError(
                    f"target_modules must be names, all-linear or a regular expression, got {self.target_modules!r}: "
                    f"{error}"
                ) from error
        elif not self.target_modules:
            raise InputError("target_modules must name layers, got []")


PLAIN = {strategy.name: strategy for strategy in (FULL, FROZEN, GRADUAL, HEAD_THEN_BODY, NEW_TOKENS)}
STRATEGIES: dict[str, type] = {**dict.fromkeys(PLAIN, Plain), "lora": Lora}


@dataclass(frozen=True)
class Recipe:
    """A checked training."""

    out: str
    task: str
    model: ModelPart
    data: Any
    options: Any
    strategy: Plain | Lora
    training: Settings
    distillation: Distillation | None = None
    replay: ReplayPart | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.task]

    @property
    def learns(self) -> Strategy:
        """The strategy that `fit` takes."""
        part = self.strategy
        if isinstance(part, Plain):
            named = PLAIN[part.name]
            openings = named.openings if part.openings is None else tuple((a, b) for a, b in part.openings)
            return replace(
                named,
                openings=openings,
                layer_decay=part.layer_decay,
                by_epoch=part.by_epoch,
                l2_sp=part.l2_sp,
                held=tuple(part.held or ()),
            )
        config = LoraConfig(
            r=part.rank,
            alpha=part.alpha,
            dropout=part.dropout,
            target_modules=part.target_modules,
            modules_to_save=part.modules_to_save,
            bias=part.bias,  # type: ignore[arg-type]  # checked there
            use_rslora=part.rslora,
            use_dora=part.dora,
        )
        ratio = part.lora_plus_ratio
        return Strategy("lora", lora=config, lora_plus=None if ratio is None else LoraPlus(ratio))

    def to_dict(self) -> dict[str, Any]:
        """As TOML has it: nested, without what is None."""
        values = asdict(self)
        return {
            key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in values.items()
            if value is not None
        }


def read_recipe(path: str | Path, assignments: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, changed by assignments "training.epochs=5".

    InputError names the file and the key that is unknown, with the nearest that is known, missing, or of a wrong type.
    """
    values = read_values(path)
    for assignment in assignments:
        assign(values, assignment)
    return make_recipe(values, str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """What a TOML file holds, not checked; InputError where it is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error


def assign(values: dict[str, Any], assignment: str) -> None:
    """Set one key, "table.key=value"; a value that is no TOML is a string."""
    key, found, text = assignment.partition("=")
    if not found or not all(key.strip().split(".")):
        raise InputError(f"{assignment!r}: expected table.key=value, such as training.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    put(values, key.strip(), value)


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set "name", "table.name" or "table.table.name", also by its short name and whichever stood there before.

    InputError where what should be a table is none.
    """
    *tables, name = ALIASES.get(key, key).split(".")
    for i, table in enumerate(tables, start=1):
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise InputError(f"{key}: {'.'.join(tables[:i])} is no table, but {values!r}")
    values[name] = value
    for short, full in ALIASES.items():
        if full == ".".join((*tables, name)):
            values.pop(short.rpartition(".")[2], None)


def make_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested values; `where` names them in messages."""
    values = _renamed(values, where)
    _refuse_unknown(values, ["out", "task", *TABLES], where)
    for table in TABLES:
        if not isinstance(values.get(table, {}), Mapping):
            raise InputError(f"{where}: {table} must be a table, got {values[table]!r}")
    task = values.get("task", "classification")
    _refuse_other(task, KINDS, f"{where}: task")
    out = values.get("out")
    if not isinstance(out, str) or not out.strip():
        raise InputError(f"{where}: out must name the folder of the result, got {out!r}")
    name = values.get("strategy", {}).get("name", "full")
    _refuse_other(name, STRATEGIES, f"{where}: strategy.name")
    _refuse_other_strategy(values.get("strategy", {}), name, where)
    kind, parts = KINDS[task], {table: values.get(table, {}) for table in TABLES}
    recipe = Recipe(
        out,
        task,
        read_part(ModelPart, parts["model"], f"{where}: model"),
        read_part(kind.data, parts["data"], f"{where}: data"),
        read_part(kind.options, parts["options"], f"{where}: options"),
        read_part(STRATEGIES[name], parts["strategy"], f"{where}: strategy"),
        read_part(Settings, parts["training"], f"{where}: training"),
        read_part(Distillation, parts["distillation"], f"{where}: distillation") if "distillation" in values else None,
        read_part(ReplayPart, parts["replay"], f"{where}: replay") if "replay" in values else None,
    )
    try:
        strategy = recipe.learns  # checks what goes together in one
        if recipe.training.steps is None:
            strategy.check_epochs(recipe.training.epochs)
    except InputError as error:
        raise InputError(f"{where}: strategy: {error}") from error
    _check_tables(recipe, where)
    return recipe


def _refuse_other_strategy(values: Mapping[str, Any], name: str, where: str) -> None:
    """InputError for a key that the strategy lacks and another has."""
    known = {one: [field.name for field in fields(part)] for one, part in STRATEGIES.items()}
    for key in values:
        others = [one for one, keys in known.items() if key in keys]
        if others and name not in others:
            raise InputError(
                f"{where}: strategy: {key!r} is a key of {', '.join(others)}, and strategy.name is {name!r}"
            )


def _check_tables(recipe: Recipe, where: str) -> None:
    """InputError where two tables contradict each other."""
    kind, task, name = recipe.kind, recipe.task, recipe.strategy.name
    if recipe.options.max_length is None:
        try:
            _ = replace(recipe.options, max_length=kind.usual_length)
        except InputError as error:
            raise InputError(f"{where}: options: {error}") from error
    alone = recipe.training.batch_size == 1 and getattr(recipe.data, "negative", None) is None
    if alone and getattr(recipe.options, "loss", None) == "in-batch":
        raise InputError(
            f"{where}: training.batch_size: the loss in-batch tells a text from the others of its batch: of 1 there "
            "are none, but for a column data.negative"
        )
    if recipe.distillation is not None and kind.head not in HEADS:
        raise InputError(f"{where}: distillation: {task} has no logits to learn: the tasks of {', '.join(HEADS)} have")
    if recipe.model.parallel == "fsdp" and recipe.training.optimizer == "adafactor":
        raise InputError(f"{where}: training.optimizer: torch's Adafactor takes no shares of weights; adamw does")
    if recipe.model.parallel == "fsdp" and (kind.writes or recipe.learns.backbone_is_constant):
        why = f"{task} writes while it learns" if kind.writes else "features of a frozen backbone are computed once"
        raise InputError(f"{where}: model.parallel: {why}, and weights that are shared out cannot: ddp can")
    if recipe.model.layers is not None and name == "lora":
        raise InputError(f"{where}: model.layers: an adapter's base is a checkpoint as it lies, with all its layers")
    if recipe.model.source is None and name != "full":
        raise InputError(
            f"{where}: strategy.name {name!r} needs weights that were taught: model.source, not its config"
        )
    if recipe.model.source is None and kind.tunes:
        raise InputError(f"{where}: {task} tunes a model that writes already: model.source, not its config")
    if name == "frozen" and recipe.model.new_tokens:
        raise InputError(f"{where}: strategy.name 'frozen' leaves new tokens as they begin: 'new-tokens' teaches them")
    if name == "new-tokens" and not recipe.model.new_tokens:
        raise InputError(f"{where}: strategy.name 'new-tokens' teaches model.new_tokens, and there are none")
    if getattr(recipe.data, "stream", None) is not None:
        if recipe.training.steps is None:
            raise InputError(f"{where}: data.stream: a stream has no end: say training.steps")
        if recipe.learns.backbone_is_constant:
            raise InputError(f"{where}: data.stream: features of a frozen backbone need all examples at once")
    if recipe.replay is not None and (recipe.model.source is None or recipe.learns.backbone_is_constant):
        raise InputError(f"{where}: replay: needs a checkpoint, model.source, whose backbone learns")
    if recipe.replay is not None and recipe.model.new_tokens:
        raise InputError(f"{where}: replay: its head knows no model.new_tokens: teach them in a training before")
    if recipe.replay is not None and recipe.model.parallel != "none":
        raise InputError(f"{where}: replay: runs on one process, and model.parallel is {recipe.model.parallel!r}")


def _check_config(config: Mapping[str, Any]) -> None:
    """What a family's configuration says of its fields; here none may be unknown, for it would do nothing."""
    for name, kind in (("model_type", str), ("vocab_size", int)):
        if not isinstance(config.get(name), kind):
            raise InputError(f"config must say its {name}, got {config.get(name)!r}")
    _refuse_other(config["model_type"], family_names(), "config: model_type")
    family = family_of(config["model_type"]).config
    known = [field.name for field in fields(family) if field.name != "extra"]
    _refuse_unknown(config, ["model_type", *known], "config")
    try:
        family.from_dict(dict(config), "config")
    except ConfigError as error:
        raise InputError(str(error)) from error


def read_part(part: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table. InputError names a key that is unknown, missing or of another type."""
    _refuse_unknown(values, [field.name for field in fields(part)], where)  # type: ignore[arg-type]
    hints = get_type_hints(part)
    for one in fields(part):  # type: ignore[arg-type]
        if one.name in values:
            if not _is(values[one.name], hints[one.name]):
                raise InputError(f"{where}.{one.name} must be {_said(hints[one.name])}, got {values[one.name]!r}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise InputError(f"{where}.{one.name} is missing: {_said(hints[one.name])}")
    try:
        return part(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _renamed(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values with the full names of short keys; InputError where both are there."""
    found = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for short, full in ALIASES.items():
        table, _, name = short.partition(".")
        if isinstance(found.get(table), dict) and name in found[table]:
            if full.partition(".")[2] in found[table]:
                raise InputError(f"{where}: {short} is short for {full}, and both are there")
            found[table][full.partition(".")[2]] = found[table].pop(name)
    return found


def _refuse_unknown(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}; there are {', '.join(known)}")


def _refuse_other(value: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(value, str) or value not in known:
        names = list(known)
        raise InputError(f"{where} {value!r}{did_you_mean(str(value), names)}: one of {', '.join(names)}")


def _is(value: Any, hint: Any) -> bool:
    """Whether a TOML value is of a type; whole numbers are numbers; truth values, inf and nan are not."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is(value, one) for one in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is(one, get_args(hint)[0]) for one in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is not type(None) and isinstance(value, hint)


def _said(hint: Any) -> str:
    """A type in words."""
    words = {str: "a string", int: "a whole number", float: "a finite number", bool: "true or false"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_said(one) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is list:
        head, of, rest = _said(get_args(hint)[0]).removeprefix("a ").partition(" of ")
        return f"a list of {head}s{of}{rest}"
    return "a table" if get_origin(hint) is dict else words[hint]
