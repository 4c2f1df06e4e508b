"""config.json as a checked dataclass."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from minitl.errors import ConfigError


@dataclass(kw_only=True)
class Config:
    """The fields that every family's config.json has; a family adds its own, under the file's names.

    Fields of the file that no code here reads are kept in `extra` and written back unchanged.
    """

    model_type: ClassVar[str]
    unnamed_labels: ClassVar[int] = 2  # classes where the file names none

    architectures: list[str] | None = None  # the class names under which other libraries know the task
    id2label: dict[str, str] | None = None  # label names of a classification head, keyed "0", "1", …
    problem_type: str | None = None  # "regression" or "single_label_classification"
    tie_word_embeddings: bool = True  # output layer = token embedding
    initializer_range: float = 0.02  # standard deviation of fresh weights
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config.json") -> Self:
        """Read a parsed config.json. ConfigError names `where`, the field and what was expected."""
        hints = typing.get_type_hints(cls)
        known = [f for f in dataclasses.fields(cls) if f.name != "extra"]
        missing = [f.name for f in known if f.name not in values and _has_no_default(f)]
        if missing:
            raise ConfigError(f"{where}: lacks the field {', '.join(map(repr, missing))} of a {cls.model_type} model")
        read: dict[str, Any] = {}
        for f in known:
            if f.name in values:
                if not fits(values[f.name], hints[f.name]):
                    raise ConfigError(
                        f"{where}: field {f.name!r} must be {describe(hints[f.name])}, got {values[f.name]!r}"
                    )
                read[f.name] = values[f.name]
        if (
            "id2label" not in read and isinstance(values.get("label2id"), dict) and values["label2id"]
        ):  # files that name the labels once
            read["id2label"] = {str(number): name for name, number in values["label2id"].items()}
        rest = {k: v for k, v in values.items() if k not in read and k not in ("model_type", "label2id", "num_labels")}
        if "num_labels" in values and not read.get("id2label"):
            count = values["num_labels"]
            if not fits(count, int) or count < 1:
                raise ConfigError(f"{where}: field 'num_labels' must be an integer of at least 1, got {count!r}")
            read["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
        config = cls(**read, extra=rest)
        config.check(where)
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config.json that other libraries read, fields of `extra` included."""
        known = [f for f in dataclasses.fields(self) if f.name != "extra"]
        values = {f.name: getattr(self, f.name) for f in known}
        # null is written where leaving the field out would mean its default
        values = {f.name: values[f.name] for f in known if values[f.name] is not None or f.default is not None}
        if self.id2label is not None:
            values["label2id"] = {name: int(i) for i, name in self.id2label.items()}
        return {"model_type": self.model_type, **self.extra, **values}

    def check(self, where: str) -> None:
        """Raise ConfigError where fields contradict each other; families add their own conditions."""
        sizes = [f.name for f in dataclasses.fields(self) if _has_no_default(f) and f.type is int]
        self.require_positive(where, *sizes)
        for f in dataclasses.fields(self):
            if "drop" in f.name and f.type in (float, float | None):  # dropout, attn_pdrop, encoder_layerdrop, …
                value = getattr(self, f.name)
                message = f"field {f.name!r} must be at least 0 and below 1, got {value}"
                self.require(value is None or 0 <= value < 1, where, message)
        if self.id2label is not None:
            numbers = {str(i) for i in range(max(1, len(self.id2label)))}
            self.require(set(self.id2label) == numbers, where, "field 'id2label' must name the labels 0, 1, … in turn")

    def require_positive(self, where: str, *names: str) -> None:
        """Raise ConfigError for the first of the fields `names` that is set and below 1."""
        for name in names:
            value = getattr(self, name)
            self.require(value is None or value > 0, where, f"field {name!r} must be at least 1, got {value}")

    def require_known(self, where: str, name: str, known: Iterable[str]) -> None:
        """Raise ConfigError unless the field `name` is one of `known`."""
        value = getattr(self, name)
        self.require(value in known, where, f"field {name!r} must be one of {', '.join(sorted(known))}, got {value!r}")

    def require(self, condition: bool, where: str, message: str) -> None:
        """Raise ConfigError with `message` unless `condition` holds."""
        if not condition:
            raise ConfigError(f"{where}: {message}")

    @property
    def initial_std(self) -> float:
        """Standard deviation of fresh weights, for families that call it otherwise."""
        return self.initializer_range

    @property
    def labels(self) -> list[str]:
        """Names of the classes; the published default is a few unnamed ones."""
        if self.id2label is None:
            return [f"LABEL_{i}" for i in range(self.unnamed_labels)]
        return [self.id2label[str(i)] for i in range(len(self.id2label))]


def is_positive(value: Any) -> bool:
    """Whether a value from a JSON file is a finite number above 0."""
    return fits(value, float) and 0 < value < math.inf


def _has_no_default(f: "dataclasses.Field[Any]") -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a type hint says, as JSON has it: an integer is a number, too; true and false are not."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(fits(value, option) for option in typing.get_args(hint))
    if hint is Any:
        return True
    if hint is float:  # JSON writes 0.0 as 0
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin = typing.get_origin(hint)
    if origin is list:
        (item,) = typing.get_args(hint)
        return isinstance(value, list) and all(fits(v, item) for v in value)
    if origin is dict:
        key, item = typing.get_args(hint)
        return isinstance(value, dict) and all(fits(k, key) and fits(v, item) for k, v in value.items())
    return isinstance(value, hint)


def describe(hint: Any) -> str:
    """A type hint in words."""
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): "null"}
    if isinstance(hint, types.UnionType):
        return " or ".join(describe(option) for option in typing.get_args(hint))
    origin = typing.get_origin(hint)
    if origin is not None:
        return (
            f"a {'list' if origin is list else 'mapping'} of {' to '.join(describe(a) for a in typing.get_args(hint))}"
        )
    return names.get(hint, str(hint))
