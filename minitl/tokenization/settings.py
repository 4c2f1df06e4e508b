"""What tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json say about a tokenizer."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from minitl.checkpoints.weights import read_json
from minitl.errors import TokenizerError

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in the order in which new ones are given ids

# "No limit" is published as int(1e30); no real position table comes near this.
LARGEST_SANE_LENGTH = 10**9


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no such file."""
    return read_json(path, TokenizerError) if path.is_file() else {}


@contextlib.contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn whatever the tokenizers library raises on a damaged file into one TokenizerError that names the file."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, TokenizerError):
        raise
    except BaseException as error:  # a panic in the Rust code derives from BaseException and has no name to import
        raise TokenizerError(f"{path}: {error}") from error


@dataclass
class Settings:
    """The merged configuration of one tokenizer folder.

    `values` is tokenizer_config.json; `special_tokens` maps a role ("cls") to its token; `extra` are further special
    tokens; `added` maps ids to tokens that the files place there.
    """

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    special_tokens: dict[str, AddedToken] = field(default_factory=dict)
    extra: list[AddedToken] = field(default_factory=list)
    added: dict[int, AddedToken] = field(default_factory=dict)
    model_type: str | None = None
    model_tokenizer_class: str | None = None  # as config.json names it

    def get(self, name: str, kind: type, default: Any) -> Any:
        """A field of tokenizer_config.json, or `default` where it is absent or null; checked to be of `kind`."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            path = self.folder / "tokenizer_config.json"
            raise TokenizerError(f"{path}: {name} must be a {kind.__name__}, found {value!r}")
        return value

    def count(self, name: str, default: int) -> int:
        """A whole number of at least 0, as in `get`."""
        number: int = self.get(name, int, default)
        if number < 0:
            raise TokenizerError(
                f"{self.folder / 'tokenizer_config.json'}: {name} must not be negative, found {number}"
            )
        return number

    @property
    def tokenizer_class(self) -> str | None:
        """The published class name without its "Fast" ending, or None; older checkpoints name it in config.json."""
        name = self.get("tokenizer_class", str, None) or self.model_tokenizer_class
        return name.removesuffix("Fast") if name else None

    @property
    def model_max_length(self) -> int | None:
        """The longest input in tokens, specials included; None where unset or set to "no limit"."""
        length = self.values.get("model_max_length")
        if isinstance(length, float) and length >= LARGEST_SANE_LENGTH:
            return None
        length = self.get("model_max_length", int, None)
        if length is not None and length <= 0:
            path = self.folder / "tokenizer_config.json"
            raise TokenizerError(f"{path}: model_max_length must be positive, found {length}")
        return length if length is not None and length < LARGEST_SANE_LENGTH else None

    def side(self, name: str, default: str = "right") -> str:
        """`padding_side` or `truncation_side`: "left" or "right"."""
        value = self.get(name, str, default)
        if value not in ("left", "right"):
            raise TokenizerError(
                f"{self.folder / 'tokenizer_config.json'}: {name} must be 'left' or 'right', found {value!r}"
            )
        return value


def read_settings(folder: Path) -> Settings:
    """Read the configuration files of `folder`; each may be absent. Raises TokenizerError on malformed ones."""
    config_path = folder / "tokenizer_config.json"
    values = read_object(config_path)
    settings = Settings(folder, values)
    model = read_object(folder / "config.json")
    named = (model.get(name) for name in ("model_type", "tokenizer_class"))
    settings.model_type, settings.model_tokenizer_class = (n if isinstance(n, str) else None for n in named)

    decoder = settings.get("added_tokens_decoder", dict, {})
    declared = [(config_path, values)]
    if not decoder:  # written by older versions, where special_tokens_map.json is the later word
        map_path = folder / "special_tokens_map.json"
        declared.append((map_path, read_object(map_path)))
    for path, source in declared:
        for role in ROLES:
            if source.get(f"{role}_token") is not None:
                settings.special_tokens[role] = _token(source[f"{role}_token"], f"{role}_token", path)
        for name in ("additional_special_tokens", "extra_special_tokens"):
            extra = source.get(name) or []
            if isinstance(extra, dict):
                extra = list(extra.values())
            if not isinstance(extra, list):
                raise TokenizerError(f"{path}: {name} must be a list of tokens, found {extra!r}")
            settings.extra += [_token(value, name, path) for value in extra]

    for key, value in decoder.items():
        settings.added[_token_id(key, config_path)] = _token(value, "added_tokens_decoder", config_path)
    added_path = folder / "added_tokens.json"
    for content, number in read_object(added_path).items():
        settings.added.setdefault(_token_id(number, added_path), AddedToken(content, normalized=True))
    return settings


def _token(value: Any, name: str, path: Path) -> AddedToken:
    """A special token, written as a string or as an object with its stripping rules."""
    if isinstance(value, str):
        return AddedToken(value, normalized=False, special=True)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {flag: bool(value.get(flag, False)) for flag in ("lstrip", "rstrip", "single_word", "normalized")}
        return AddedToken(value["content"], special=bool(value.get("special", True)), **flags)
    raise TokenizerError(f"{path}: {name} must be a string or an object with a content, found {value!r}")


def _token_id(value: Any, path: Path) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise TokenizerError(f"{path}: {value!r} is not a token id")
    return number
